/* file.c: whatever lies in the data file, snug opens it or leaves it alone; what it has read once it keeps, and works
 * on.
 *
 * Input: two bytes (the options; which calls fail, see fill_faults), then the file. A sum "--------" in it is replaced
 * by the right one, so that records can be intact. */
#include "fuzz.h"

#include "../unit_store.c"

#include "disk.h"

/* ---- the disk fails on demand: see unit_store.c's `fault` ---- */

static int frail_open(const char *path, int flags, mode_t mode)
{
    return call_fails(CALL_OPEN) ? -1 : shelf_open(path, flags, mode);
}

static ssize_t frail_read(int fd, void *bytes, size_t size)
{
    return call_fails(CALL_READ) ? -1 : shelf_read(fd, bytes, size);
}

static ssize_t frail_write(int fd, const void *bytes, size_t size)
{
    if (!call_fails(CALL_WRITE)) return shelf_write(fd, bytes, size);
    return fault.error == ENOSPC ? shelf_write(fd, bytes, size / 2) : -1; /* a full disk takes a part */
}

static int frail_ftruncate(int fd, off_t length)
{
    return call_fails(CALL_FTRUNCATE) ? -1 : shelf_ftruncate(fd, length);
}

static int frail_fsync(int fd) { return call_fails(CALL_FSYNC) ? -1 : shelf_fsync(fd); }

static int frail_rename(const char *from, const char *to)
{
    return call_fails(CALL_RENAME) ? -1 : shelf_rename(from, to);
}

static int frail_link(const char *from, const char *to) { return call_fails(CALL_LINK) ? -1 : shelf_link(from, to); }

static void fill_faults(unsigned char byte)
{
    static const int kinds[] = {0,
                                CALL_OPEN,
                                CALL_READ,
                                CALL_WRITE,
                                CALL_FTRUNCATE,
                                CALL_FSYNC,
                                CALL_RENAME | CALL_LINK,
                                CALL_WRITE | CALL_FTRUNCATE};

    break_disk(kinds[byte & 7], byte & 8 ? ENOSPC : EIO, 1 + (byte & 16));
    fault.after = byte >> 5;
}

static void begin_world(unsigned char byte)
{
    static const enum store_sync syncs[] = {STORE_SYNC_SECOND, STORE_SYNC_ALWAYS, STORE_SYNC_EXIT, STORE_SYNC_SECOND};

    memset(&world, 0, offsetof(struct world, told));
    world.told[0] = '\0';
    world.reader_count = 0;
    memset(&syncer, 0, sizeof syncer);
    syncer.ask_fd = syncer.answer_fd = -1;
    begin_disk();
    disk.pipe = note_pipe;
    disk.fork = play_fork;
    disk.waitpid = play_waitpid;
    disk.open = frail_open;
    disk.read = frail_read;
    disk.write = frail_write;
    disk.ftruncate = frail_ftruncate;
    disk.fsync = frail_fsync;
    disk.rename = frail_rename;
    disk.link = frail_link;
    options_like(1 + (byte & 3), STORE_HISTORY_MIN, 2 + (byte >> 2 & 3));
    world.options.hold_ms = byte & 16 ? HOUR : 0;
    world.options.sync = syncs[byte >> 6];
    world.options.seed = 42;
    world.options.context = &world;
    world.options.changed = note_change;
    world.options.synced = note_synced;
    world.options.tell = note_told;
    world.now.wall_ms = 1700000000000;
    world.now.mono_ms = 5000;
    strcpy(world.path, "snug.data");
}

/* Writes the right sum into each line of TEXT that begins ":KIND -------- ": over what is up to its empty line. */
static void fill_in_sums(char *text, size_t length)
{
    static struct store summer;
    char *end = text + length, *sum, *stop, digits[9];

    if (summer.crc_table[1] == 0) make_crc_table(summer.crc_table);
    *end = '\0';
    for (sum = text; (sum = memchr(sum, ' ', (size_t)(end - sum))) != NULL; sum++) {
        if (end - sum < 11 || memcmp(sum, " -------- ", 10) != 0) continue;
        for (stop = sum + 10; stop < end && !(stop[-1] == '\n' && stop[0] == '\n'); stop++) continue;
        if (stop == end) break;
        (void)snprintf(digits, sizeof digits, "%08x",
                       (unsigned)crc(&summer, (unsigned char *)sum + 10, (size_t)(stop + 1 - sum) - 10));
        memcpy(sum + 1, digits, 8);
    }
}

static struct shelf_file *data_file(void) { return shelf_find("snug.data"); }

/* Opens what is there. Returns 0 if it was refused: then it lies there as it lay. */
static int open_given(const unsigned char *given, size_t length)
{
    const struct shelf_file *kept;
    int is_damaged;

    world.store = open_at(world.path);
    if (world.store == NULL && fault.calls > 0) { /* once more, on a disk that is well */
        assert_true(world.reason[0] != '\0');
        heal();
        world.store = open_at(world.path);
    }
    assert_int_equal(world.store == NULL, world.reason[0] != '\0');
    is_damaged = strstr(world.told, " is damaged: ") != NULL;
    if (world.store == NULL) {
        assert_int_equal(data_file()->length, length);
        assert_memory_equal(data_file()->bytes, given, length);
        return 0;
    }
    kept = shelf_find("snug.data.damaged-1");
    if (world.options.sync == STORE_SYNC_EXIT) is_damaged = 0; /* it is kept when a new one takes its place */
    if (fault.calls == 0) assert_int_equal(kept != NULL, is_damaged);
    if (kept != NULL) assert_memory_equal(kept->bytes, given, length);
    return 1;
}

/* What is closed well is opened without a word, and holds the same. */
static void check_stays(void)
{
    char *before = dump_store(world.store, 1), *after;

    stop();
    world.told[0] = '\0';
    start();
    assert_string_equal(world.told, "");
    check_store(world.store);
    after = dump_store(world.store, 1);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* Somebody joins ROOM, reads all in steps of STEP bytes, speaks, hears that, and goes. */
static void visit(const struct store_name *room, size_t step)
{
    static const struct store_name zed = {3, "Zed"}, yan = {3, "Yan"};
    unsigned char key[STORE_KEY_SIZE];
    struct store_member *member;
    struct event event;
    struct reader *reader;

    make_key(key, ++world.keys);
    if (store_join(world.store, room, &zed, key, world.now, &member) != STORE_OK) return;
    reader = follow(member);
    reader->step = step;
    assert_int_equal(read_on(reader), STORE_NOTHING);
    while (next_event(reader, &event)) continue;
    if (member->room->next_id >= NUMBER_END - 2 || member->room->next_by >= NUMBER_END - 2) return;
    say(member, "hi \"there\"");
    (void)tick();
    expect_next(reader, "hi \\\"there\\\"");
    (void)store_rename(member, &yan, world.now);
    later(SECOND);
    assert_int_equal(read_on(reader), STORE_NOTHING);
    while (next_event(reader, &event)) continue;
    unfollow(reader);
    if (step & 1) store_leave(member, world.now);
}

static void visit_all(size_t step)
{
    static const struct store_name fresh = {5, "fresh"};
    struct store_name name;
    size_t i;

    for (i = 0; i < world.store->rooms_used; i++) {
        name.length = world.store->rooms[i].name_length;
        memcpy(name.bytes, world.store->rooms[i].name,
               sizeof name.bytes < name.length ? sizeof name.bytes : name.length);
        if (name.length > 0) visit(&name, step);
    }
    visit(&fresh, step);
    check_store(world.store);
    for (i = 0; i < world.reader_count; i++) {
        if (world.readers[i]->is_following) unfollow(world.readers[i]);
        free(world.readers[i]->bytes);
        free(world.readers[i]);
    }
    world.reader_count = 0;
    later(HOUR);
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length)
{
    struct input in = {bytes, length};
    unsigned char options = take_byte(&in), faults = take_byte(&in);
    unsigned char *given = malloc(in.left + 1);
    int fd;

    if (length > 100000) return 0;
    begin_world(options);
    fd = shelf_open(world.path, O_CREAT, 0600);
    memcpy(given, in.at, in.left);
    fill_in_sums((char *)given, in.left);
    (void)shelf_write(fd, given, in.left);
    (void)shelf_close(fd);
    memset(&fault, 0, sizeof fault);
    fill_faults(faults);
    if (open_given(given, in.left)) {
        check_store(world.store);
        if (fault.kinds != 0) { /* what fails is told; then the disk is well again */
            (void)store_close(world.store, world.now);
            heal();
            start();
            check_store(world.store);
        }
        check_stays();
        visit_all(1 + (size_t)faults * 3);
        check_stays();
        stop();
    }
    free(given);
    return 0;
}
