/* unit_store.c: the store's promises, with time, chance and a failing disk passed in. */
#include "../store.c"

#include "unit.h"

#include <sys/wait.h>

#define SECOND 1000
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * (int64_t)HOUR)

/* ---- a disk that fails on demand ---- */

/* Calls fail from the AFTER-th on, TIMES times, with ERROR (0: a write is short by half). Only those of KINDS. */
enum call {
    CALL_OPEN = 1,
    CALL_WRITE = 2,
    CALL_FTRUNCATE = 4,
    CALL_FSYNC = 8,
    CALL_RENAME = 16,
    CALL_LINK = 32,
    CALL_READ = 64,
    CALL_ANY = 127
};

static struct {
    int kinds, error;
    long after, times;
    long calls, syncs;
} fault;

static int call_fails(enum call call)
{
    if (!(fault.kinds & (int)call)) return 0;
    fault.calls++;
    if (fault.after > 0) {
        fault.after--;
        return 0;
    }
    if (fault.times == 0) return 0;
    fault.times--;
    errno = fault.error;
    return 1;
}

/* A file as a power cut would leave it: as it was at its last fsync. After one that failed no other brings back what
 * that one did not. */
struct platter_file {
    ino_t inode;
    int is_failed;
    char *bytes;
    size_t length;
};

/* What a power cut would leave, as long as it is asked for. */
static struct {
    int is_on;
    struct platter_file files[64];
    size_t count;
    struct platter_file *named; /* the one that has the data file's name */
    int is_folder_failed;       /* no fsync brings back the last rename */
} platter;

static void note_open(int fd);
static void note_fsync(int fd, int fails);

static int may_open(const char *path, int flags, mode_t mode)
{
    int fd = call_fails(CALL_OPEN) ? -1 : open_file(path, flags, mode);

    if (platter.is_on && fd >= 0 && flags & O_EXCL) note_open(fd);
    return fd;
}

static ssize_t may_read(int fd, void *bytes, size_t size)
{
    return call_fails(CALL_READ) ? -1 : read(fd, bytes, size > 1000 ? 1000 : size);
}

static ssize_t may_write(int fd, const void *bytes, size_t size)
{
    if (!call_fails(CALL_WRITE)) return write(fd, bytes, size);
    if (fault.error != 0 && fault.error != ENOSPC) return -1;
    if (write(fd, bytes, size / 2) < 0 || fault.error != 0) { /* a full disk takes a part before it says so */
        errno = ENOSPC;
        return -1;
    }
    return (ssize_t)(size / 2);
}

static int may_ftruncate(int fd, off_t length)
{
    if (!call_fails(CALL_FTRUNCATE)) return ftruncate(fd, length);
    if (fault.error == 0) errno = EIO;
    return -1;
}

static int may_fsync(int fd)
{
    int fails = call_fails(CALL_FSYNC);

    fault.syncs++;
    if (platter.is_on) note_fsync(fd, fails);
    if (fails) errno = fault.error;
    return fails ? -1 : fcntl(fd, F_GETFD) < 0 ? -1 : 0; /* really, it would only take time */
}

static int may_rename(const char *from, const char *to)
{
    if (call_fails(CALL_RENAME)) return -1;
    platter.is_folder_failed = 0;
    return rename(from, to);
}

static int may_link(const char *from, const char *to) { return call_fails(CALL_LINK) ? -1 : link(from, to); }

/* The child that fsyncs is played by the test: it has the ends of the pipes that the child would have. */
static struct syncer_play {
    int is_refused;   /* there can't be one */
    int is_slow;      /* it answers when answer_sync is called, not at once */
    int fds[2][2];
    int pipe_count;
    int ask_fd, answer_fd;
} syncer;

static int note_pipe(int fds[2])
{
    if (pipe(fds) != 0) return -1;
    memcpy(syncer.fds[syncer.pipe_count++ % 2], fds, 2 * sizeof fds[0]);
    return 0;
}

static pid_t play_fork(void)
{
    if (syncer.is_refused) {
        errno = EAGAIN;
        return -1;
    }
    syncer.ask_fd = dup(syncer.fds[0][0]);
    syncer.answer_fd = dup(syncer.fds[1][1]);
    assert_int_equal(fcntl(syncer.ask_fd, F_SETFL, O_NONBLOCK), 0);
    return 4711;
}

static void kill_child(void)
{
    if (syncer.ask_fd < 0) return;
    close(syncer.ask_fd);
    close(syncer.answer_fd);
    syncer.ask_fd = syncer.answer_fd = -1;
}

static pid_t play_waitpid(pid_t pid, int *status, int options)
{
    (void)status;
    (void)options;
    assert_int_equal(pid, 4711);
    kill_child();
    return pid;
}

static void break_disk(int calls, int error, long times)
{
    fault.kinds = calls;
    fault.error = error;
    fault.times = times;
    fault.after = 0;
}

static void heal(void) { break_disk(0, 0, 0); }

/* ---- a world: one store in a folder of its own ---- */

struct reader {
    struct store_cursor cursor;
    struct store_room *room;
    char *bytes; /* all that came, with a NUL behind */
    size_t length, size;
    size_t at;   /* what next_event has not looked at yet */
    size_t step; /* bytes taken at once at most */
    int is_following;
    uint64_t place; /* the id that what follows must be next to */
};

static struct world {
    char folder[64], path[96];
    struct store_options options;
    struct store *store;
    struct store_time now;
    char told[1 << 16];
    unsigned changes, synced;
    unsigned keys;
    struct reader *readers[64];
    size_t reader_count;
    char reason[STORE_REASON_SIZE];
} world;

static void note_change(void *context, size_t room)
{
    struct world *of = context;

    assert_true(room < of->options.rooms);
    of->changes++;
}

static void note_synced(void *context) { ((struct world *)context)->synced++; }

static void note_told(void *context, const char *sentence)
{
    struct world *of = context;

    if (strlen(of->told) + strlen(sentence) + 2 > sizeof of->told) of->told[0] = '\0';
    strcat(strcat(of->told, sentence), "\n");
}

static struct store *open_at(const char *path)
{
    struct store_options options = world.options;

    options.file = path;
    options.seed = ++world.options.seed;
    world.reason[0] = '\0';
    return store_open(&options, world.now, world.reason);
}

static void start(void)
{
    world.store = open_at(world.path);
    if (world.store == NULL) fail_msg("%s", world.reason);
}

static void stop(void)
{
    assert_int_equal(store_close(world.store, world.now), 0);
    world.store = NULL;
}

/* Ends the store as kill -9 does. */
static void kill_store(void)
{
    if (world.store->rewrite.fd >= 0) close(world.store->rewrite.fd);
    free_store(world.store);
    world.store = NULL;
}

static void options_like(size_t rooms, size_t history, size_t members)
{
    world.options.rooms = rooms;
    world.options.history = history;
    world.options.members = members;
}

/* The file at PATH, which is on the platter from now on at the latest. */
static struct platter_file *platter_file_at(const char *path)
{
    struct stat status;
    size_t i;

    if (stat(path, &status) != 0) return NULL;
    for (i = 0; i < platter.count; i++) {
        if (platter.files[i].inode == status.st_ino) return &platter.files[i];
    }
    assert_true(platter.count < 64);
    platter.files[i].inode = status.st_ino;
    return &platter.files[platter.count++];
}

/* A file was made, maybe with the number of an older one. */
static void note_open(int fd)
{
    struct stat status;
    size_t i;

    assert_int_equal(fstat(fd, &status), 0);
    for (i = 0; i < platter.count; i++) {
        if (platter.files[i].inode == status.st_ino) platter.files[i].inode = 0;
    }
}

static void note_fsync(int fd, int fails)
{
    char new_path[128];
    struct platter_file *file;
    struct stat status, named;
    const char *path;

    snprintf(new_path, sizeof new_path, "%s.new", world.path);
    assert_int_equal(fstat(fd, &status), 0);
    if (S_ISDIR(status.st_mode)) {
        if (fails) platter.is_folder_failed = 1;
        if (!platter.is_folder_failed) platter.named = platter_file_at(world.path);
        return;
    }
    path = stat(world.path, &named) == 0 && named.st_ino == status.st_ino ? world.path : new_path;
    file = platter_file_at(path);
    if (fails) file->is_failed = 1;
    if (file->is_failed) return;
    free(file->bytes);
    file->bytes = read_whole(path, &file->length);
}

static void wipe_platter(void)
{
    size_t i;

    for (i = 0; i < platter.count; i++) free(platter.files[i].bytes);
    memset(&platter, 0, sizeof platter);
}

static int begin_empty(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    memset(&fault, 0, sizeof fault);
    memset(&syncer, 0, sizeof syncer);
    syncer.ask_fd = syncer.answer_fd = -1;
    disk.pipe = note_pipe;
    disk.fork = play_fork;
    disk.waitpid = play_waitpid;
    disk.open = may_open;
    disk.read = may_read;
    disk.write = may_write;
    disk.ftruncate = may_ftruncate;
    disk.fsync = may_fsync;
    disk.rename = may_rename;
    disk.link = may_link;
    make_folder(world.folder);
    snprintf(world.path, sizeof world.path, "%s/snug.data", world.folder);
    options_like(4, STORE_HISTORY_MIN, 8);
    world.options.hold_ms = DAY;
    world.options.seed = 42;
    world.options.context = &world;
    world.options.changed = note_change;
    world.options.synced = note_synced;
    world.options.tell = note_told;
    world.now.wall_ms = 1700000000000;
    world.now.mono_ms = 5000;
    return 0;
}

static int begin(void **state)
{
    begin_empty(state);
    start();
    return 0;
}

static int end(void **state)
{
    size_t i;

    (void)state;
    heal();
    for (i = 0; i < world.reader_count; i++) {
        free(world.readers[i]->bytes);
        free(world.readers[i]);
    }
    if (world.store != NULL) kill_store();
    wipe_platter();
    remove_folder(world.folder);
    return 0;
}

/* The child does what it was asked, and the store takes its answer. Returns the round, 0 if there was none. */
static int answer_sync(void)
{
    unsigned char round = 0;
    int errors[SYNC_TARGETS];

    if (syncer.ask_fd < 0 || read(syncer.ask_fd, &round, 1) != 1) return 0;
    sync_targets(world.store, round, errors);
    assert_int_equal(write(syncer.answer_fd, errors, sizeof errors), sizeof errors);
    store_synced(world.store, world.now);
    return round;
}

/* The store is called, and the child answers. */
static int64_t tick(void)
{
    int64_t wait = store_tick(world.store, world.now);

    while (!syncer.is_slow && answer_sync() != 0) wait = store_tick(world.store, world.now);
    return wait;
}

/* Time goes on by MS; the store is called when it asked to be, and only then. */
static void later(int64_t ms)
{
    int64_t until = world.now.mono_ms + ms;
    int turns = 0;

    for (;;) {
        int64_t wait = tick();
        if (wait == 0) assert_true(turns++ < 1000); /* else it spins */
        else turns = 0;
        if (wait < 0 || wait > until - world.now.mono_ms) break;
        world.now.mono_ms += wait;
        world.now.wall_ms += wait;
    }
    world.now.wall_ms += until - world.now.mono_ms;
    world.now.mono_ms = until;
}

static struct store_bytes bytes_of(const char *text)
{
    struct store_bytes bytes = {(const unsigned char *)text, strlen(text)};

    return bytes;
}

static struct store_name room_name(const char *text)
{
    struct store_name name;
    const char *reason;

    assert_int_equal(store_room_name(bytes_of(text), &name, &reason), STORE_OK);
    return name;
}

static struct store_name member_name(const char *text)
{
    struct store_name name;
    const char *reason;

    assert_int_equal(store_member_name(bytes_of(text), &name, &reason), STORE_OK);
    return name;
}

static void make_key(unsigned char key[STORE_KEY_SIZE], unsigned number)
{
    memset(key, 0, STORE_KEY_SIZE);
    key[0] = (unsigned char)(number % 3); /* they share buckets */
    memcpy(key + 4, &number, sizeof number);
}

static enum store_result try_join(const char *room, const char *called, struct store_member **member)
{
    struct store_name in = room_name(room), name = member_name(called);
    unsigned char key[STORE_KEY_SIZE];

    make_key(key, ++world.keys);
    return store_join(world.store, &in, &name, key, world.now, member);
}

static struct store_member *join(const char *room, const char *called)
{
    struct store_member *member = NULL;

    assert_int_equal(try_join(room, called, &member), STORE_OK);
    return member;
}

static enum store_result rename_to(struct store_member *member, const char *called)
{
    struct store_name name = member_name(called);

    return store_rename(member, &name, world.now);
}

static struct store_room *find_room(const char *text)
{
    struct store_name name = room_name(text);

    return store_find(world.store, &name);
}

/* The member called so, without regard to case. */
static struct store_member *who(const char *room, const char *called)
{
    struct store_name name = member_name(called);

    return find_room(room) == NULL ? NULL : find_name(find_room(room), &name);
}

static enum store_result try_say(struct store_member *member, const char *text, uint64_t nonce,
                                 struct store_receipt *receipt)
{
    struct store_nonce given = {nonce != 0, nonce};

    memset(receipt, 0, sizeof *receipt);
    return store_send(member, bytes_of(text), given, NULL, world.now, receipt);
}

static uint64_t say(struct store_member *member, const char *text)
{
    struct store_receipt receipt;

    assert_int_equal(try_say(member, text, 0, &receipt), STORE_OK);
    return receipt.id;
}

static uint64_t say_once(struct store_member *member, const char *text, uint64_t nonce)
{
    struct store_receipt receipt;

    assert_int_equal(try_say(member, text, nonce, &receipt), STORE_OK);
    return receipt.id;
}

/* Says so much that a ring of the least size forgets all before. */
static void flood(struct store_member *member)
{
    char text[STORE_TEXT_MAX + 1];
    size_t i, count = member->room->ring.size / sizeof text + 2;

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    for (i = 0; i < count; i++) say(member, text);
}

/* ---- readers ---- */

static const struct store_after from_start = {STORE_AFTER_NONE, 0};

static struct store_after after_id(uint64_t id)
{
    struct store_after after = {STORE_AFTER_ID, 0};

    after.id = id;
    return after;
}

static struct reader *new_reader(struct store_member *member)
{
    struct reader *reader = calloc(1, sizeof *reader);

    assert_true(world.reader_count < 64);
    world.readers[world.reader_count++] = reader;
    reader->size = 1 << 14;
    reader->bytes = calloc(1, reader->size);
    reader->step = SIZE_MAX;
    reader->room = member->room;
    return reader;
}

static struct reader *follow_after(struct store_member *member, struct store_after after)
{
    struct reader *reader = new_reader(member);

    store_follow(&reader->cursor, member, after, world.now);
    reader->is_following = 1;
    return reader;
}

static struct reader *follow(struct store_member *member) { return follow_after(member, from_start); }

static void unfollow(struct reader *reader)
{
    store_unfollow(&reader->cursor, world.now);
    reader->is_following = 0;
}

static void reader_gets(struct reader *reader, const unsigned char *bytes, size_t length)
{
    while (reader->length + length + 1 > reader->size) {
        reader->size *= 2;
        reader->bytes = realloc(reader->bytes, reader->size);
    }
    memcpy(reader->bytes + reader->length, bytes, length);
    reader->length += length;
    reader->bytes[reader->length] = '\0';
}

/* Takes MOST bytes at most of what comes next. */
static enum store_next read_some(struct reader *reader, size_t most)
{
    unsigned char scratch[STORE_NOTE_MAX];
    struct store_bytes span = {NULL, 0};
    enum store_next next = store_next(&reader->cursor, scratch, &span);
    size_t count = next == STORE_NOTE || span.length < most ? span.length : most;

    if (next != STORE_NOTE && next != STORE_BYTES) return next;
    assert_true(span.length > 0);
    reader_gets(reader, span.at, count);
    store_took(&reader->cursor, count);
    return next;
}

static enum store_next read_on(struct reader *reader)
{
    enum store_next next;

    do next = read_some(reader, reader->step);
    while (next == STORE_NOTE || next == STORE_BYTES);
    return next;
}

struct event {
    char name[16]; /* "" is a message */
    uint64_t id;
    int has_id;
    char data[STORE_STATE_MAX + 1];
};

/* The next whole event of what came. Everything must be an event that a browser takes for one. */
static int next_event(struct reader *reader, struct event *event)
{
    char *at = reader->bytes + reader->at, *stop = strstr(at, "\n\n"), *line_end;

    memset(event, 0, sizeof *event);
    if (stop == NULL) return 0;
    reader->at = (size_t)(stop + 2 - reader->bytes);
    for (; at <= stop; at = line_end + 1) {
        line_end = strchr(at, '\n');
        if (strncmp(at, "id: ", 4) == 0) {
            event->has_id = 1;
            event->id = strtoull(at + 4, NULL, 10);
        } else if (strncmp(at, "event: ", 7) == 0) {
            memcpy(event->name, at + 7, (size_t)(line_end - at) - 7);
        } else if (strncmp(at, "data: ", 6) == 0) {
            memcpy(event->data, at + 6, (size_t)(line_end - at) - 6);
        } else if (strncmp(at, "retry: 2000\n", 12) == 0) {
            strcpy(event->name, "retry");
        } else {
            fail_msg("no line of an event: %.40s", at);
        }
    }
    if (strcmp(event->name, "retry") != 0 && !is_json(event->data)) fail_msg("no JSON: %s", event->data);
    return 1;
}

/* The next message or gap. */
static int next_log_event(struct reader *reader, struct event *event)
{
    while (next_event(reader, event)) {
        if (event->name[0] == '\0' || strcmp(event->name, "gap") == 0) return 1;
    }
    return 0;
}

static void expect_next(struct reader *reader, const char *text)
{
    struct event event;
    const char *found;

    read_on(reader);
    if (!next_log_event(reader, &event)) fail_msg("no message, but %s is expected", text);
    assert_string_equal(event.name, "");
    found = strstr(event.data, "\"text\":\"");
    assert_non_null(found);
    assert_int_equal(strncmp(found + 8, text, strlen(text)), 0);
    assert_string_equal(found + 8 + strlen(text), "\"}");
}

static void expect_nothing(struct reader *reader)
{
    struct event event;

    assert_int_equal(read_on(reader), STORE_NOTHING);
    if (next_log_event(reader, &event)) fail_msg("unexpected: %s %s", event.name, event.data);
}

static void expect_event(struct reader *reader, const char *name, const char *data)
{
    struct event event;

    read_on(reader);
    if (!next_event(reader, &event)) fail_msg("no event, but %s is expected", name);
    assert_string_equal(event.name, name);
    if (data != NULL) assert_string_equal(event.data, data);
}

static void expect_gap(struct reader *reader, uint64_t id, uint64_t oldest)
{
    struct event event;
    char data[64];

    read_on(reader);
    assert_true(next_log_event(reader, &event));
    assert_string_equal(event.name, "gap");
    assert_true(event.has_id && event.id == id);
    if (oldest == 0) strcpy(data, "{\"oldest\":null}");
    else snprintf(data, sizeof data, "{\"oldest\":%llu}", (unsigned long long)oldest);
    assert_string_equal(event.data, data);
}

/* Passes over what a stream opens with, and all else that has come. */
static void pass_over(struct reader *reader)
{
    read_on(reader);
    reader->at = reader->length;
}

/* ---- what must hold at any time ---- */

static void check_room(const struct store_room *room)
{
    const struct store_member *member;
    size_t count = 0, here = 0, i, named = 0, keyed = 0, people_inside = 0, typing_inside = 0, readers = 0;
    uint64_t last = 0;

    for (member = member_at(room, room->first); member != NULL; member = member_at(room, member->next)) {
        uint32_t waits = 0;
        assert_true(member->by > last && member->by < room->next_by);
        assert_true(member->room == room);
        last = member->by;
        count++;
        here += member->is_here;
        for (i = 0; i < world.reader_count; i++) {
            const struct reader *reader = world.readers[i];
            if (reader->is_following && reader->cursor.member == member && reader->cursor.by == member->by) waits++;
        }
        assert_int_equal(member->waits, waits);
        assert_true(waits == 0 || member->is_here);
    }
    assert_int_equal(count, room->count);
    assert_int_equal(here, room->here);
    for (i = 0; i < room->store->member_bucket_count; i++) {
        for (member = member_at(room, room->by_name[i]); member != NULL; member = member_at(room, member->same_name))
            named++;
        for (member = member_at(room, room->by_key[i]); member != NULL; member = member_at(room, member->same_key))
            keyed++;
    }
    assert_int_equal(named, count);
    assert_int_equal(keyed, count);
    for (i = 0; i < world.reader_count; i++) {
        const struct store_cursor *cursor = &world.readers[i]->cursor;
        if (!world.readers[i]->is_following || world.readers[i]->room != room) continue;
        readers++;
        if (cursor->within == 0) continue;
        if (cursor->part == PEOPLE && cursor->people == room->people.version) people_inside++;
        if (cursor->part == TYPING && cursor->typing == room->typing.version) typing_inside++;
    }
    assert_int_equal(readers, room->readers);
    assert_int_equal(people_inside, room->people.inside);
    assert_int_equal(typing_inside, room->typing.inside);
    assert_true(room->ring.tail <= room->ring.shown && room->ring.shown <= room->ring.head);
    assert_true(room->ring.head - room->ring.tail <= room->ring.size);
    assert_true(room->ring.shown == room->ring.head || room->is_unshown);
}

static void check_store(const struct store *store)
{
    const struct store_room *room;
    uint64_t held = 0, at;

    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        if (room->name_length == 0) continue;
        check_room(room);
        held += ROOM_RECORD_MAX + room->count * MEMBER_RECORD_MAX + (room->ring.head - room->ring.tail);
        for (at = room->ring.tail; at < room->ring.head; at = frame_end(&room->ring, at)) held += frame_overhead(room);
    }
    assert_int_equal(held, store->held);
}

/* ---- characters ---- */

/* RFC 3629's grammar, row by row: the bounds of the first and second byte, and how many follow. */
static size_t slow_utf8(const unsigned char *at, size_t left)
{
    static const unsigned char rows[][5] = {
        {0x00, 0x7F, 0, 0, 0},       {0xC2, 0xDF, 0x80, 0xBF, 1}, {0xE0, 0xE0, 0xA0, 0xBF, 2},
        {0xE1, 0xEC, 0x80, 0xBF, 2}, {0xED, 0xED, 0x80, 0x9F, 2}, {0xEE, 0xEF, 0x80, 0xBF, 2},
        {0xF0, 0xF0, 0x90, 0xBF, 3}, {0xF1, 0xF3, 0x80, 0xBF, 3}, {0xF4, 0xF4, 0x80, 0x8F, 3}};
    size_t row, i;

    for (row = 0; row < sizeof rows / sizeof rows[0]; row++) {
        size_t length = 1U + rows[row][4];
        if (at[0] < rows[row][0] || at[0] > rows[row][1]) continue;
        if (left < length) return 0;
        if (length > 1 && (at[1] < rows[row][2] || at[1] > rows[row][3])) return 0;
        for (i = 2; i < length; i++) {
            if (at[i] < 0x80 || at[i] > 0xBF) return 0;
        }
        return length;
    }
    return 0;
}

static void utf8_is_read_strictly(void **state)
{
    static const unsigned char tails[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0};
    unsigned char bytes[4];
    size_t first, second, third, fourth, left;
    uint32_t point;

    (void)state;
    for (first = 0; first < 256; first++) {
        for (second = 0; second < 256; second++) {
            for (third = 0; third < sizeof tails; third++) {
                for (fourth = 0; fourth < sizeof tails; fourth++) {
                    bytes[0] = (unsigned char)first;
                    bytes[1] = (unsigned char)second;
                    bytes[2] = tails[third];
                    bytes[3] = tails[fourth];
                    for (left = 1; left <= 4; left++) {
                        if (decode(bytes, left, &point) != slow_utf8(bytes, left)) {
                            fail_msg("%02zx %02zx %02x %02x, %zu left", first, second, bytes[2], bytes[3], left);
                        }
                    }
                }
            }
        }
    }
}

static void every_character_is_written_as_it_is_read(void **state)
{
    unsigned char bytes[4];
    uint32_t point, again;

    (void)state;
    for (point = 0; point <= 0x10FFFF; point++) {
        size_t length;
        if (point == 0xD800) point = 0xE000;
        length = encode(point, bytes);
        assert_int_equal(length, point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4);
        assert_int_equal(decode(bytes, length, &again), length);
        assert_int_equal(again, point);
    }
}

static void names_are_compared_in_lower_case(void **state)
{
    static const char *const pairs[][2] = {
        {"ABCXYZ", "abcxyz"},
        {"\303\200\303\226\303\230\303\236", "\303\240\303\266\303\270\303\276"}, /* ÀÖØÞ */
        {"\303\227\303\237", "\303\227\303\237"},                                 /* × and ß stay */
        {"\304\200\304\256", "\304\201\304\257"},
        {"\304\260", "i"},
        {"\304\261", "\304\261"}, /* ĀĮ, İ, ı */
        {"\304\271\305\207", "\304\272\305\210"},
        {"\305\212\305\266", "\305\213\305\267"}, /* ĹŇ ŊŶ */
        {"\305\270", "\303\277"},
        {"\305\271\305\275", "\305\272\305\276"},
        {"\305\277", "\305\277"}, /* Ÿ ŹŽ ſ */
        {"\306\201", "\311\223"},
        {"\306\217", "\311\231"},
        {"\307\204\307\205", "\307\206\307\206"}, /* Ɓ Ə ǄǅǇ */
        {"\307\255\307\256", "\307\255\307\257"},
        {"\307\266", "\306\225"},
        {"\310\240", "\306\236"}, /* Ƕ Ƞ */
        {"\310\272", "\342\261\245"},
        {"\310\276", "\342\261\246"},
        {"\311\203", "\306\200"},                                                 /* Ⱥ Ⱦ Ƀ */
        {"\316\206\316\210\316\212", "\316\254\316\255\316\257"},                 /* ΆΈΊ */
        {"\316\214\316\216\316\217", "\317\214\317\215\317\216"},                 /* ΌΎΏ */
        {"\316\221\316\241\316\243\316\251", "\316\261\317\201\317\203\317\211"}, /* ΑΡΣΩ */
        {"\316\252\316\253", "\317\212\317\213"},
        {"\317\202", "\317\202"},
        {"\317\264", "\316\270"},                                                 /* ΪΫ ς ϴ */
        {"\320\200\320\201\320\217", "\321\220\321\221\321\237"},                 /* ЀЁЏ */
        {"\320\220\320\237\320\240\320\257", "\320\260\320\277\321\200\321\217"}, /* АПРЯ */
        {"\321\240\322\200", "\321\241\322\201"},
        {"\322\212\322\276", "\322\213\322\277"}, /* ѠҀ ҊҾ */
        {"\323\200", "\323\217"},
        {"\323\201\323\215", "\323\202\323\216"},
        {"\323\220\324\256", "\323\221\324\257"},
        {"\341\270\200\341\272\224", "\341\270\201\341\272\225"},
        {"\341\272\236", "\303\237"}, /* ḀẔ ẞ */
        {"\341\272\240\341\273\276", "\341\272\241\341\273\277"},
        {"\341\274\210\341\274\217", "\341\274\200\341\274\207"},
        {"\341\275\231\341\275\232", "\341\275\221\341\275\232"},
        {"\341\276\274", "\341\276\263"},                              /* Ὑ, none, ᾼ */
        {"\342\204\246\342\204\252\342\204\253", "\317\211k\303\245"}, /* Ω K Å, the signs */
        {"\342\261\240\342\261\242", "\342\261\241\311\253"},
        {"\357\274\241\357\274\272", "\357\275\201\357\275\232"},
        {"\347\214\253\360\237\230\200\330\247", "\347\214\253\360\237\230\200\330\247"}, /* others stay */
    };
    struct store_name folded, again;
    uint32_t point;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        assert_int_equal(canonical(bytes_of(pairs[i][0]), 1, &folded), NO_FLAW);
        folded.bytes[folded.length] = '\0';
        assert_string_equal((char *)folded.bytes, pairs[i][1]);
    }
    for (i = 0; i + 1 < sizeof folds / sizeof folds[0]; i++) {
        assert_true(folds[i].first <= folds[i].last && folds[i].last < folds[i + 1].first);
        assert_int_equal((folds[i].last - folds[i].first) % folds[i].step, 0);
    }
    for (point = 0; point <= 0xFFFF; point++) {
        unsigned char bytes[4];
        assert_int_equal(fold(fold(point)), fold(point));
        if (fold(point) == point) continue;
        assert_false(is_blank(point) || is_hidden(point) || is_control(point));
        assert_false(is_blank(fold(point)) || is_hidden(fold(point)) || is_control(fold(point)));
        assert_true(2 * encode(fold(point), bytes) <= 3 * encode(point, bytes)); /* STORE_FOLDED_MAX */
        assert_true(encode(fold(point), bytes) <= 3);
    }
    for (i = 0; i < 16; i++) memcpy(again.bytes + 4 * i, "\310\272\310\276", 4); /* the longest in lower case */
    fold_name(again.bytes, 64, &folded);
    assert_int_equal(folded.length, STORE_FOLDED_MAX);
}

#define TEN   "1234567890"
#define SIXTY TEN TEN TEN TEN TEN TEN

static void names_are_kept_as_the_design_says(void **state)
{
    static const struct {
        const char *why, *text, *member, *room; /* NULL: refused */
    } rows[] = {
        {"plain", "Ann", "Ann", "ann"},
        {"blanks around", "  Ann  ", "Ann", "ann"},
        {"repeated blanks", "Ann   Lee", "Ann Lee", "ann lee"},
        {"other blanks", "\302\240Ann\343\200\200\342\200\203\342\200\250Lee\341\232\200", "Ann Lee", "ann lee"},
        {"nothing", "", NULL, NULL},
        {"only blanks", " \302\240 ", NULL, NULL},
        {"64 bytes", SIXTY "abcd", SIXTY "abcd", SIXTY "abcd"},
        {"64 bytes and blanks around", " " SIXTY "abcd ", SIXTY "abcd", SIXTY "abcd"},
        {"65 bytes", SIXTY "abcde", NULL, NULL},
        {"very long", SIXTY SIXTY SIXTY, NULL, NULL},
        {"63 bytes and a letter of two", SIXTY "abc\303\251", NULL, NULL},
        {"a room longer in lower case", SIXTY "ab\310\272", SIXTY "ab\310\272", NULL},
        {"a room shorter in lower case", SIXTY "abcd\304\260", NULL, NULL},
        {"a tab", "a\tb", NULL, NULL},
        {"a newline", "a\n", NULL, NULL},
        {"DEL", "a\177", NULL, NULL},
        {"C1", "a\302\205", NULL, NULL},
        {"a soft hyphen", "a\302\255b", NULL, NULL},
        {"an Arabic letter mark", "\330\234", NULL, NULL},
        {"a Mongolian separator", "\341\240\216", NULL, NULL},
        {"a zero-width space", "a\342\200\213", NULL, NULL},
        {"a right-to-left mark", "a\342\200\217", NULL, NULL},
        {"an override", "a\342\200\256", NULL, NULL},
        {"a word joiner", "a\342\201\240", NULL, NULL},
        {"an isolate", "a\342\201\251", NULL, NULL},
        {"a byte order mark", "\357\273\277a", NULL, NULL},
        {"no UTF-8", "a\377", NULL, NULL},
        {"half a letter", "a\303", NULL, NULL},
        {"a slash", "a/b", "a/b", NULL},
        {"a backslash", "a\\b", "a\\b", NULL},
        {"a dot", ".", ".", NULL},
        {"two dots", " .. ", "..", NULL},
        {"three dots", "...", "...", "..."},
        {"a dot in front", ".Ann", ".Ann", ".ann"},
        {"markup", "<b>\"&'", "<b>\"&'", "<b>\"&'"},
    };
    struct store_name name;
    const char *reason;
    size_t i;
    int is_room;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (is_room = 0; is_room < 2; is_room++) {
            const char *wanted = is_room ? rows[i].room : rows[i].member;
            size_t length = strlen(rows[i].text);
            unsigned char *text = malloc(length + 1); /* just as long: no byte behind it is looked at */
            struct store_bytes bytes = {text, length};
            memcpy(text, rows[i].text, length);
            text = realloc(text, length > 0 ? length : 1);
            bytes.at = text;
            if ((is_room ? store_room_name : store_member_name)(bytes, &name, &reason) == STORE_OK) {
                if (wanted == NULL) fail_msg("%s: taken", rows[i].why);
                assert_int_equal(name.length, strlen(wanted));
                assert_memory_equal(name.bytes, wanted, name.length);
                assert_null(reason);
            } else {
                if (wanted != NULL) fail_msg("%s: refused: %s", rows[i].why, reason);
                assert_true(reason != NULL && reason[strlen(reason) - 1] == '.');
            }
            free(text);
        }
    }
}

static void a_name_as_json_is_quoted(void **state)
{
    static const char *const rows[][2] = {{"", "\"\""},
                                          {"Ann", "\"Ann\""},
                                          {"\"\\\"", "\"\\\"\\\\\\\"\""},
                                          {"a\tb\nc", "\"a\\tb\\nc\""},
                                          {"\303\251/", "\"\303\251/\""}};
    char out[64];
    size_t i, length;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        length = store_quote(bytes_of(rows[i][0]), out);
        assert_int_equal(length, strlen(rows[i][1]));
        assert_memory_equal(out, rows[i][1], length);
    }
}

static void texts_are_kept_but_for_carriage_returns(void **state)
{
    static const char *const rows[][2] = {
        {"hi", "hi"},
        {"a\r\nb\r\n", "a\\nb\\n"},
        {"\r\nx", "\\nx"},
        {" a ", " a "},
        {"a\tb", "a\\tb"},
        {"\"\\", "\\\"\\\\"},
        {"\342\200\213", "\342\200\213"},
        {"\360\237\230\200", "\360\237\230\200"},
        {"", NULL},
        {" \n\t\r\n ", NULL},
        {"\302\240\343\200\200", NULL},
        {"a\rb", NULL},
        {"a\r", NULL},
        {"a\r\r\n", NULL},
        {"a\001", NULL},
        {"a\177", NULL},
        {"a\302\205", NULL},
        {"a\355\240\200", NULL},
        {"\300\200", NULL},
    };
    struct store_member *ann = join("tea", "Ann");
    struct reader *reader = follow(ann);
    struct store_receipt receipt;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum store_result result = try_say(ann, rows[i][0], 0, &receipt);
        assert_int_equal(result, rows[i][1] != NULL ? STORE_OK : STORE_BAD);
        if (result == STORE_OK) expect_next(reader, rows[i][1]);
        else assert_non_null(receipt.reason);
    }
    expect_nothing(reader);
}

/* FIRST, then COUNT times REST. */
static const char *long_text(const char *first, const char *rest, size_t count)
{
    static char text[2 * STORE_TEXT_MAX + 16];
    char *end_at = text + strlen(first);

    for (strcpy(text, first); count > 0; count--, end_at += strlen(rest)) strcpy(end_at, rest);
    return text;
}

static void a_text_has_4000_bytes_at_most(void **state)
{
    struct store_member *ann = join("tea", SIXTY "\"\"\"\"");
    struct store_receipt receipt;

    (void)state;
    ann->room->next_id = ann->room->next_by = NUMBER_END - 2; /* the longest frame */
    world.now.wall_ms = (int64_t)NUMBER_END - 1;
    assert_int_equal(try_say(ann, long_text("", "\"", 4000), 1, &receipt), STORE_OK);
    assert_true(ann->room->ring.head <= STORE_FRAME_MAX);
    assert_int_equal(try_say(ann, long_text("", "\"", 4001), 0, &receipt), STORE_BAD);
    assert_int_equal(try_say(ann, long_text("a", "\r\n", 3999), 0, &receipt), STORE_OK); /* CRLF counts as LF */
    assert_int_equal(try_say(ann, long_text("a", "\r\n", 4000), 0, &receipt), STORE_BAD);
    assert_int_equal(try_say(ann, long_text("aa", "\303\251", 1999), 0, &receipt), STORE_OK);
    assert_int_equal(try_say(ann, long_text("a", "\303\251", 2000), 0, &receipt), STORE_BAD);
    check_store(world.store);
}

/* ---- the ring ---- */

static void the_ring_keeps_the_newest_frames_whole(void **state)
{
    static struct {
        uint64_t id, start;
        size_t length;
    } model[4096];
    struct store_member *ann = join("tea", "Ann");
    struct store_room *room = ann->room;
    size_t first = 0, count = 0, total = 0, i, wraps = 0;
    uint64_t seed = 7, id, at;
    char text[STORE_TEXT_MAX + 1];

    (void)state;
    while (count < 1500) {
        size_t length =
            random_below(&seed, 10) == 0 ? 1 + random_below(&seed, STORE_TEXT_MAX) : 1 + random_below(&seed, 60);
        uint64_t before = room->ring.head;
        memset(text, "x\"\n\\"[random_below(&seed, 4)], length);
        text[0] = 'x';
        text[length] = '\0';
        if (random_below(&seed, 30) == 0) room->next_id += 1 + random_below(&seed, 5); /* as at a start */
        model[count].id = say(ann, text);
        model[count].start = before;
        model[count].length = (size_t)(room->ring.head - before);
        total += model[count++].length;
        while (total > room->ring.size) total -= model[first++].length;
        wraps += room->ring.head / room->ring.size != before / room->ring.size;
        assert_int_equal(room->ring.tail, model[first].start);
        assert_int_equal(room->ring.head - room->ring.tail, total);
        assert_true(first == 0 || total >= world.options.history);
        if (count % 5 != 0) continue;
        for (i = first, at = room->ring.tail; i < count; i++, at = frame_end(&room->ring, at)) {
            assert_int_equal(at, model[i].start);
            assert_int_equal(frame_id(&room->ring, at), model[i].id);
        }
        assert_int_equal(at, room->ring.head);
        if (count % 125 != 0) continue;
        for (id = model[first].id - 2, i = first; id <= room->next_id + 2; id++) {
            while (i < count && model[i].id <= id) i++;
            assert_int_equal(frame_after(&room->ring, id), i < count ? model[i].start : room->ring.head);
        }
        for (at = room->ring.tail, i = first; at < room->ring.head; at++) {
            if (at >= model[i].start + model[i].length) i++;
            assert_int_equal(is_border(&room->ring, at), at == model[i].start);
            assert_int_equal(frame_start(&room->ring, at), model[i].start);
            assert_int_equal(frame_end(&room->ring, at), model[i].start + model[i].length);
        }
        check_store(world.store);
    }
    assert_true(wraps > 10);
}

/* ---- streams ---- */

static void a_stream_opens_with_who_i_am_who_is_here_and_what_was_said(void **state)
{
    struct store_member *ann = join("tea", "A\"nn"), *bob = join("tea", "Bob");
    struct reader *reader;
    char data[128];

    (void)state;
    say(ann, "one");
    say(bob, "two");
    reader = follow(ann);
    expect_event(reader, "retry", "");
    snprintf(data, sizeof data, "{\"by\":%llu,\"name\":\"A\\\"nn\"}", (unsigned long long)store_by(ann));
    expect_event(reader, "you", data);
    snprintf(data, sizeof data, "{\"here\":1,\"people\":[{\"by\":%llu,\"name\":\"A\\\"nn\"}]}",
             (unsigned long long)store_by(ann));
    expect_event(reader, "people", data);
    expect_next(reader, "one");
    expect_next(reader, "two");
    expect_nothing(reader);
    store_typing(bob, world.now);
    reader = follow(bob);
    expect_event(reader, "retry", "");
    expect_event(reader, "you", NULL);
    expect_event(reader, "people", NULL);
    expect_event(reader, "typing", "[\"Bob\"]");
    expect_next(reader, "one");
    check_store(world.store);
}

static void a_message_is_one_frame(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct reader *reader = follow(ann);
    char frame[256];
    uint64_t id;

    (void)state;
    pass_over(reader);
    reader->length = reader->at = 0;
    id = say(ann, "hi");
    read_on(reader);
    snprintf(frame, sizeof frame,
             "id: %llu\ndata: {\"id\":%llu,\"t\":1700000000000,\"by\":%llu,\"name\":\"Ann\",\"text\":\"hi\"}\n\n",
             (unsigned long long)id, (unsigned long long)id, (unsigned long long)store_by(ann));
    assert_string_equal(reader->bytes, frame);
    assert_true(id >= 1 && id <= 0x7FFFFFFF && store_by(ann) >= 1 && store_by(ann) <= 0x7FFFFFFF);
    assert_int_equal(say(ann, "ho"), id + 1);
}

static void time_never_goes_back_in_a_room(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct store_receipt receipt;
    int64_t wall = world.now.wall_ms;

    (void)state;
    say(ann, "now");
    world.now.wall_ms -= DAY;
    try_say(ann, "yesterday", 0, &receipt);
    assert_int_equal(receipt.t, wall);
    stop();
    start();
    try_say(who("tea", "Ann"), "again", 0, &receipt);
    assert_int_equal(receipt.t, wall);
    world.now.wall_ms = -5;
    try_say(join("coffee", "Bob"), "before 1970", 0, &receipt);
    assert_int_equal(receipt.t, 0);
}

static void a_gap_is_told_when_something_is_missing(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct store_room *room = ann->room;
    struct store_after unreadable = {STORE_AFTER_UNREADABLE, 0};
    uint64_t next = room->next_id, first, oldest, jump;
    struct reader *reader;

    (void)state;
    expect_gap(follow_after(ann, after_id(next - 2)), next - 1, 0); /* empty: */
    expect_gap(follow_after(ann, after_id(next + 7)), next - 1, 0);
    expect_gap(follow_after(ann, unreadable), next - 1, 0);
    expect_nothing(follow_after(ann, after_id(next - 1)));
    expect_nothing(follow(ann));
    first = say(ann, "1");
    say(ann, "2");
    room->next_id += 10; /* as at a start */
    jump = say(ann, "3");
    say(ann, "4");
    room->next_id += 10;
    reader = follow_after(ann, after_id(first)); /* held */
    expect_next(reader, "2");
    expect_next(reader, "3");
    reader = follow_after(ann, after_id(first - 1)); /* one before the oldest */
    expect_next(reader, "1");
    expect_nothing(follow_after(ann, after_id(jump + 1))); /* the newest */
    reader = follow_after(ann, after_id(first - 2));       /* older */
    expect_gap(reader, first - 1, first);
    expect_next(reader, "1");
    reader = follow_after(ann, after_id(0));
    expect_gap(reader, first - 1, first);
    reader = follow_after(ann, after_id(jump - 3)); /* in a jump */
    expect_gap(reader, first + 1, first);
    expect_next(reader, "3");
    expect_next(reader, "4");
    expect_nothing(reader);
    reader = follow_after(ann, after_id(jump + 5)); /* newer than the newest, below the next */
    expect_gap(reader, first - 1, first);
    expect_next(reader, "1");
    reader = follow_after(ann, after_id(room->next_id + 5));
    expect_gap(reader, first - 1, first);
    expect_next(reader, "1");
    reader = follow_after(ann, after_id(UINT64_MAX));
    expect_gap(reader, first - 1, first);
    unreadable.id = jump; /* no matter what */
    reader = follow_after(ann, unreadable);
    expect_gap(reader, first - 1, first);
    expect_next(reader, "1");
    flood(ann);
    oldest = frame_id(&room->ring, room->ring.tail);
    expect_gap(follow_after(ann, after_id(jump)), oldest - 1, oldest);
    reader = follow_after(ann, after_id(oldest - 1));
    read_on(reader);
    assert_null(strstr(reader->bytes, "gap"));
    check_store(world.store);
}

static void a_stream_is_the_same_a_byte_at_a_time(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *reader, *whole;
    size_t step, i;

    (void)state;
    flood(ann);
    for (i = 0; i < 40; i++) say(bob, "some \"words\"\n");
    store_typing(bob, world.now);
    follow(ann);
    later(SECOND);
    whole = follow_after(bob, after_id(5)); /* with a gap */
    read_on(whole);
    for (step = 1; step < 12000; step = step < 20 ? step + 1 : step * 2 + 1) {
        reader = follow_after(bob, after_id(5));
        reader->step = step;
        read_on(reader);
        assert_string_equal(reader->bytes, whole->bytes);
        check_store(world.store);
        unfollow(reader);
    }
}

static void a_slow_reader_is_told_what_it_missed(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct reader *slow = follow(ann), *inside = follow(ann), *fast = follow(ann);
    uint64_t oldest;

    (void)state;
    say(ann, "hi");
    expect_next(slow, "hi");
    read_on(inside);
    say(ann, "half of this");
    read_some(inside, 10);
    flood(ann);
    oldest = frame_id(&ann->room->ring, ann->room->ring.tail);
    expect_gap(slow, oldest - 1, oldest);
    read_on(slow);
    assert_true(slow->cursor.at == ann->room->ring.head);
    assert_int_equal(read_on(inside), STORE_END);
    assert_int_equal(read_on(fast), STORE_NOTHING);
    unfollow(inside);
    check_store(world.store);
}

static void what_is_taken_late_is_still_right(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct reader *reader = follow(ann);
    unsigned char scratch[STORE_NOTE_MAX];
    struct store_bytes span;

    (void)state;
    say(ann, "hi");
    while (ann->room->ring.head > reader->cursor.at) read_some(reader, SIZE_MAX);
    say(ann, "ho");
    assert_int_equal(store_next(&reader->cursor, scratch, &span), STORE_BYTES);
    say(ann, "hu"); /* the socket took nothing of the last span: it is asked again */
    store_took(&reader->cursor, 0);
    pass_over(reader);
    assert_non_null(strstr(reader->bytes, "\"ho\""));
    assert_non_null(strstr(reader->bytes, "\"hu\""));
}

static void a_state_does_not_wait_behind_a_backlog(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *reader = follow(ann);
    size_t cut, i;

    (void)state;
    later(SECOND);
    for (cut = 1; cut < 120; cut++) { /* wherever in the first of three it stands */
        struct event event;
        pass_over(reader);
        for (i = 0; i < 3; i++) say(ann, "a message of some length, so that every place in it is tried");
        read_some(reader, cut);
        rename_to(bob, cut % 2 ? "Bert" : "Bob");
        store_seen(bob, world.now);
        later(SECOND);
        read_on(reader);
        if (cut > 1) assert_true(next_event(reader, &event) && event.name[0] == '\0');
        else assert_true(next_event(reader, &event));
        assert_true(next_event(reader, &event) && strcmp(event.name, "people") == 0);
    }
}

/* ---- states ---- */

/* How many events called NAME (NULL: any) came since READER was last read. */
static size_t count_events(struct reader *reader, const char *name)
{
    struct event event;
    size_t count = 0;

    read_on(reader);
    while (next_event(reader, &event)) count += name == NULL || strcmp(event.name, name) == 0;
    return count;
}

static void who_comes_and_goes_is_told_once_and_never_queued(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob"), *cat = join("tea", "Cat");
    struct reader *reader = follow(ann);
    struct event event;

    (void)state;
    later(SECOND);
    pass_over(reader);
    follow(bob);
    follow(cat);
    unfollow(follow(bob));
    later(SECOND);
    assert_true(read_on(reader) == STORE_NOTHING && next_event(reader, &event));
    assert_string_equal(event.name, "people");
    assert_non_null(strstr(event.data, "\"here\":3"));
    assert_int_equal(count_events(reader, "people"), 0);
    later(HOUR);
    assert_int_equal(count_events(reader, "people"), 0);
}

static void four_states_a_second_go_out_at_most(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *reader = follow(ann);
    size_t i, count = 0;

    (void)state;
    later(SECOND);
    pass_over(reader);
    for (i = 0; i < 100; i++) { /* ten seconds, ten changes a second */
        rename_to(bob, i % 2 ? "Bob" : "Bert");
        store_seen(bob, world.now);
        later(100);
        count += count_events(reader, "people");
        check_store(world.store);
    }
    assert_true(count >= 30 && count <= 41);
    for (i = count = 0; i < 100; i++) { /* people and typing together, too */
        rename_to(bob, i % 2 ? "Bob" : "Bert");
        store_seen(bob, world.now);
        store_typing(bob, world.now);
        later(100);
        count += count_events(reader, NULL); /* `you` is Bob's */
    }
    assert_true(count >= 30 && count <= 41);
    later(SECOND);
    rename_to(bob, "Zoe");
    later(250);
    read_on(reader);
    assert_non_null(strstr(reader->bytes + reader->at, "Zoe")); /* the newest after all */
}

static void fewer_states_go_out_to_many_readers(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *reader = follow(ann);
    size_t i, count = 0;

    (void)state;
    later(SECOND);
    pass_over(reader);
    ann->room->readers += 100000; /* some 100 bytes for each: 2.4 s of 4 MiB/s */
    for (i = 0; i < 100; i++) {
        rename_to(bob, i % 2 ? "Bob" : "Bert");
        store_seen(bob, world.now);
        later(100);
        count += count_events(reader, "people");
    }
    ann->room->readers -= 100000;
    assert_true(count >= 2 && count <= 6);
}

static void a_reader_inside_a_state_holds_up_a_new_one_for_a_second(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *slow = follow(ann), *quick = follow(ann), *late;
    uint64_t changed_ms;

    (void)state;
    later(SECOND);
    read_on(quick);
    quick->at = quick->length;
    while (slow->cursor.within == 0) read_some(slow, 20);
    follow(bob);
    check_store(world.store);
    later(900);
    assert_int_equal(count_events(quick, "people"), 0);
    late = follow(ann); /* he gets the old one meanwhile */
    assert_null(strstr(late->bytes, "Bob"));
    assert_int_equal(read_some(slow, 1), STORE_BYTES);
    later(100);
    assert_int_equal(count_events(quick, "people"), 1);
    assert_int_equal(read_some(slow, 1), STORE_END);
    unfollow(slow);
    check_store(world.store);
    pass_over(late);
    assert_non_null(strstr(late->bytes, "Bob"));
    /* who comes out of the old one in time gets the new one at once */
    later(SECOND);
    slow = follow(bob);
    later(SECOND);
    pass_over(quick);
    while (slow->cursor.within == 0) read_some(slow, 20);
    store_leave(ann, world.now);
    later(300);
    changed_ms = (uint64_t)world.now.mono_ms;
    assert_true(read_on(slow) == STORE_NOTHING);
    assert_int_equal(count_events(slow, "people"), 1);
    later(0);
    assert_int_equal(count_events(slow, "people"), 1);
    assert_int_equal(world.now.mono_ms, changed_ms);
    /* so it is when he goes away */
    late = follow(bob);
    while (late->cursor.within == 0) read_some(late, 20);
    rename_to(bob, "Bert");
    later(300);
    assert_int_equal(count_events(slow, "people"), 0);
    unfollow(late);
    later(0);
    assert_int_equal(count_events(slow, "people"), 1);
    check_store(world.store);
}

static void a_new_name_is_told_to_its_own_streams(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct reader *reader = follow(ann), *other = follow(join("tea", "Bob"));
    char data[64];

    (void)state;
    later(SECOND);
    pass_over(reader);
    pass_over(other);
    assert_int_equal(rename_to(ann, "Anna"), STORE_OK);
    snprintf(data, sizeof data, "{\"by\":%llu,\"name\":\"Anna\"}", (unsigned long long)store_by(ann));
    expect_event(reader, "you", data);
    later(SECOND);
    assert_int_equal(count_events(reader, "typing"), 0);
    assert_int_equal(count_events(reader, "you"), 0);
    expect_event(other, "people", NULL);
    assert_int_equal(rename_to(ann, "Anna"), STORE_OK); /* no change */
    later(SECOND);
    assert_int_equal(count_events(reader, "you"), 0);
}

static void leaving_ends_all_streams_of_the_member(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *one = follow(ann), *two = follow(ann), *other = follow(bob);
    struct store_cursor array;

    (void)state;
    say(ann, "hi");
    read_some(two, 10);
    (void)store_select(&array, ann, from_start);
    assert_true(store_is_member(&array));
    world.changes = 0;
    store_leave(ann, world.now);
    assert_true(world.changes > 0);
    assert_int_equal(read_on(one), STORE_END);
    assert_int_equal(read_on(two), STORE_END);
    assert_false(store_is_member(&array));
    ann = join("tea", "Ann"); /* in the same place */
    assert_int_equal(read_on(one), STORE_END);
    unfollow(one);
    unfollow(two);
    check_store(world.store);
    assert_int_equal(read_on(other), STORE_NOTHING);
    later(SECOND);
    assert_int_equal(find_room("tea")->here, 1);
}

static void typing_shows_for_six_seconds(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "B\"b");
    struct reader *reader = follow(ann);

    (void)state;
    later(SECOND);
    pass_over(reader);
    store_typing(bob, world.now);
    later(0);
    expect_event(reader, "typing", "[\"B\\\"b\"]");
    later(4 * SECOND);
    store_typing(bob, world.now); /* six seconds from here */
    later(5999);
    assert_int_equal(count_events(reader, "typing"), 0);
    later(1);
    expect_event(reader, "typing", "[]");
    store_typing(bob, world.now);
    store_typing(ann, world.now);
    later(SECOND);
    expect_event(reader, "typing", "[\"B\\\"b\",\"Ann\"]");
    say(bob, "hi");
    later(SECOND);
    expect_event(reader, "typing", "[\"Ann\"]");
    expect_next(reader, "hi");
    rename_to(ann, "Anna");
    later(SECOND);
    expect_event(reader, "you", NULL);
    expect_event(reader, "people", NULL);
    expect_event(reader, "typing", "[\"Anna\"]");
    store_typing(bob, world.now);
    later(SECOND);
    expect_event(reader, "typing", "[\"Anna\",\"B\\\"b\"]");
    store_leave(bob, world.now);
    later(SECOND);
    expect_event(reader, "typing", "[\"Anna\"]");
    later(5 * SECOND);
    expect_event(reader, "typing", "[]");
    check_store(world.store);
}

static void sixteen_are_shown_typing_at_most(void **state)
{
    struct store_member *members[20];
    struct reader *reader;
    struct event event;
    char name[80];
    size_t i, commas = 0;

    (void)state;
    stop();
    options_like(2, STORE_HISTORY_MIN, 20);
    start();
    for (i = 0; i < 20; i++) {
        memset(name, '"', 64);
        name[62 - i] = 'x';
        name[64] = '\0';
        members[i] = join("tea", name);
        store_typing(members[i], world.now);
    }
    reader = follow(members[19]);
    read_on(reader);
    while (next_event(reader, &event) && strcmp(event.name, "typing") != 0) continue;
    for (i = 0; event.data[i] != '\0'; i++) commas += event.data[i] == ',';
    assert_int_equal(commas, 15);
    store_typing(members[0], world.now);
    say(members[0], "hi");
    store_typing(members[19], world.now);
    assert_int_equal(find_room("tea")->typer_count, 16);
}

static void people_are_256_at_most_and_within_32_kib(void **state)
{
    struct store_member *member;
    struct reader *reader;
    char name[80];
    size_t i, round;

    (void)state;
    stop();
    for (round = 0; round < 2; round++) {
        size_t listed = 0;
        uint64_t first_by = 0;
        struct event event;
        const char *at;
        remove(world.path);
        options_like(2, STORE_HISTORY_MIN, 300);
        start();
        for (i = 0; i < 300; i++) {
            memset(name, '"', 64);
            snprintf(name + (round ? 60 : 0), 20, "%04zu", i);
            member = join("tea", name);
            if (i == 0) first_by = store_by(member);
            store_seen(member, world.now);
        }
        reader = follow(member);
        read_on(reader);
        while (next_event(reader, &event) && strcmp(event.name, "people") != 0) continue;
        assert_non_null(strstr(event.data, "{\"here\":300,"));
        assert_int_equal(strtoull(strstr(event.data, "\"by\":") + 5, NULL, 10), first_by);
        for (at = event.data; (at = strstr(at, "\"by\":")) != NULL; at++) listed++;
        assert_true(round ? listed > 190 && listed < 256 : listed == 256);
        assert_true(strlen(event.data) + 21 <= STORE_STATE_MAX);
        store_unfollow(&reader->cursor, world.now);
        world.reader_count--;
        free(reader->bytes);
        free(reader);
        stop();
    }
}

/* ---- many readers and chance ---- */

static struct {
    uint64_t ids[3][20000]; /* of each room, as they were said */
    size_t count[3];
} spoken;

/* The first id that was said after ID in the room. */
static uint64_t said_after(size_t room, uint64_t id)
{
    size_t i;

    for (i = 0; i < spoken.count[room] && spoken.ids[room][i] <= id; i++) continue;
    return i < spoken.count[room] ? spoken.ids[room][i] : 0;
}

/* Looks at what came: ids in order, nothing lost without a gap, no gap without a loss. */
static void check_heard(struct reader *reader)
{
    size_t room = store_number(reader->room);
    struct event event;

    while (next_log_event(reader, &event)) {
        if (event.name[0] != '\0') {
            assert_true(event.id > reader->place);
        } else {
            assert_int_equal(event.id, said_after(room, reader->place));
        }
        reader->place = event.id;
    }
}

static void chance_follow(struct reader *reader, struct store_member *member, uint64_t *seed)
{
    struct store_room *room = member->room;
    int again = reader->is_following && reader->room == room && reader->place > 0;

    if (reader->is_following) store_unfollow(&reader->cursor, world.now);
    reader->room = room;
    if (!again)
        reader->place =
            room->ring.tail < room->ring.head ? frame_id(&room->ring, room->ring.tail) - 1 : room->next_id - 1;
    reader->length = reader->at = 0;
    reader->bytes[0] = '\0';
    reader->step = 1 + random_below(seed, random_below(seed, 2) ? 30 : 3000);
    store_follow(&reader->cursor, member, again ? after_id(reader->place) : from_start, world.now);
    reader->is_following = 1;
}

static struct store_member *chance_member(uint64_t *seed)
{
    struct store_room *room;
    struct store_member *member;
    size_t skips;

    if (world.store->rooms_used == 0) return NULL;
    room = &world.store->rooms[random_below(seed, world.store->rooms_used)];
    member = member_at(room, room->first);
    skips = room->count > 0 ? random_below(seed, room->count) : 0;
    while (skips-- > 0) member = member_at(room, member->next);
    return member;
}

static void chance_say(struct store_member *member, uint64_t *seed)
{
    size_t room = store_number(member->room),
           length = 1 + random_below(seed, random_below(seed, 8) ? 100 : STORE_TEXT_MAX);
    char text[STORE_TEXT_MAX + 1];

    if (spoken.count[room] == 20000) return;
    memset(text, 'a' + (int)random_below(seed, 26), length);
    text[length] = '\0';
    spoken.ids[room][spoken.count[room]++] = say(member, text);
}

static void chance_act_of(size_t turn, uint64_t *seed)
{
    static const char *const rooms[] = {"tea", "coffee", "milk"};
    struct store_member *member = chance_member(seed);
    char name[8];
    size_t i;

    snprintf(name, sizeof name, "N%u", (unsigned)random_below(seed, 12));
    switch (turn) {
    case 0: (void)try_join(rooms[random_below(seed, 3)], name, &member); break;
    case 1:
        if (member != NULL) (void)rename_to(member, name);
        break;
    case 2:
        if (member != NULL && random_below(seed, 4) == 0) store_leave(member, world.now);
        break;
    case 3:
        if (member != NULL) store_typing(member, world.now);
        break;
    case 4:
        if (member != NULL) store_seen(member, world.now);
        break;
    case 5: later((int64_t)random_below(seed, random_below(seed, 20) ? 400 : 100000)); break;
    case 6:
        if (member != NULL && world.reader_count > 0)
            chance_follow(world.readers[random_below(seed, world.reader_count)], member, seed);
        break;
    case 7:
    case 8:
        if (member != NULL) chance_say(member, seed);
        break;
    default:
        for (i = random_below(seed, 40); i > 0 && world.reader_count > 0; i--) {
            struct reader *reader = world.readers[random_below(seed, world.reader_count)];
            if (reader->is_following) read_some(reader, reader->step);
            if (reader->is_following) check_heard(reader);
        }
    }
}

static void chance_act(uint64_t *seed) { chance_act_of(random_below(seed, 12), seed); }

static void nothing_is_lost_whatever_happens(void **state)
{
    uint64_t seed = 2024;
    size_t round, i;

    (void)state;
    memset(&spoken, 0, sizeof spoken);
    stop();
    options_like(3, 0, 6);
    world.options.hold_ms = MINUTE;
    start();
    for (i = 0; i < 12; i++)
        new_reader(i == 0 ? join("tea", "Ann") : who("tea", "Ann")); /* they follow as chance will */
    for (round = 0; round < 60000; round++) {
        chance_act(&seed);
        if (round % 7 == 0) check_store(world.store);
    }
    later(2 * SECOND);
    for (i = 0; i < world.reader_count; i++) {
        struct reader *reader = world.readers[i];
        if (!reader->is_following || read_on(reader) != STORE_NOTHING) continue;
        check_heard(reader);
        assert_int_equal(reader->at, reader->length);
        assert_int_equal(said_after(store_number(reader->room), reader->place), 0);
    }
    assert_true(spoken.count[0] > 1000 && spoken.count[1] > 1000);
}

/* ---- arrays ---- */

/* The whole array after AFTER, in pieces; NULL if it was overtaken. *PIECES counts them. The caller frees it. */
static char *array_after(struct store_member *member, struct store_after after, size_t *pieces)
{
    static unsigned char scratch[STORE_FRAME_MAX], again[STORE_FRAME_MAX];
    struct store_bytes span, same;
    struct store_cursor cursor;
    char *all = calloc(1, 1 << 20);
    enum store_next next;

    *pieces = 0;
    (void)store_select(&cursor, member, after);
    while ((next = store_next_array(&cursor, scratch, sizeof scratch, &span)) == STORE_BYTES) {
        assert_int_equal(store_next_array(&cursor, again, sizeof again, &same), STORE_BYTES); /* until it is taken */
        assert_int_equal(span.length, same.length);
        assert_memory_equal(span.at, same.at, span.length);
        strncat(all, (const char *)span.at, span.length);
        store_took_array(&cursor);
        ++*pieces;
    }
    assert_int_equal(next, STORE_NOTHING);
    return all;
}

static void messages_are_a_json_array(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    char text[STORE_TEXT_MAX + 1], *array;
    size_t pieces, all_pieces = 0, i;
    uint64_t id;

    (void)state;
    array = array_after(ann, from_start, &pieces);
    assert_string_equal(array, "[]");
    free(array);
    id = say(ann, "one");
    say(ann, "t\"wo");
    array = array_after(ann, from_start, &pieces);
    assert_true(is_json(array));
    assert_int_equal(pieces, 1);
    assert_non_null(strstr(array, "\"text\":\"one\"},{\"id\":"));
    free(array);
    array = array_after(ann, after_id(id), &pieces);
    assert_true(is_json(array) && strstr(array, "one") == NULL && strstr(array, "t\\\"wo") != NULL);
    free(array);
    array = array_after(ann, after_id(id + 1), &pieces);
    assert_string_equal(array, "[]");
    free(array);
    array = array_after(ann, after_id(id + 9), &pieces); /* newer than the newest: all */
    assert_true(is_json(array) && strstr(array, "one") != NULL);
    free(array);
    memset(text, '"', STORE_TEXT_MAX);
    for (i = STORE_TEXT_MAX; i > STORE_TEXT_MAX - 300; i--) { /* every way to fill a piece */
        text[i] = '\0';
        say(ann, text);
        say(ann, "x");
        array = array_after(ann, from_start, &pieces);
        assert_true(is_json(array));
        all_pieces += pieces;
        free(array);
    }
    assert_true(all_pieces > 500);
}

static void an_array_that_is_overtaken_ends(void **state)
{
    static unsigned char scratch[STORE_FRAME_MAX];
    struct store_member *ann = join("tea", "Ann");
    struct store_cursor cursor;
    struct store_bytes span;

    (void)state;
    flood(ann);
    assert_true(store_select(&cursor, ann, from_start));
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_BYTES);
    store_took_array(&cursor);
    flood(ann);
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_END);
    assert_true(store_select(&cursor, ann, from_start)); /* one that was asked for whole ends at that time's newest */
    cursor.at = ann->room->ring.head;
    say(ann, "later");
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_BYTES);
    assert_int_equal(span.length, 2);
    store_leave(ann, world.now);
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_END);
}

static void messages_are_read_back_the_newest_first(void **state)
{
    static const char *const called[] = {"A\"\\n", "Bob"};
    static char texts[400][STORE_TEXT_MAX + 1];
    static unsigned char scratch[STORE_FRAME_MAX];
    static const char *const some[] = {"hi", "\\n\t\"\\\\", "a\nb\\", "\303\251 \346\274\242", "\"", "}\n\n{"};
    struct store_member *members[] = {join("tea", called[0]), join("tea", called[1])};
    struct store_message message;
    struct store_cursor cursor;
    uint64_t seed = 1, id = 0;
    size_t i, j, back;

    (void)state;
    store_look_back(&cursor, members[0]);
    assert_false(store_previous(&cursor, scratch, &message));
    for (i = 0; i < 400; i++) {
        size_t length = i % 7 == 0 ? STORE_TEXT_MAX : random_below(&seed, 300); /* the ring wraps at other places */
        strcpy(texts[i], some[i % 6]);
        if (i % 2 == 0) for (j = strlen(texts[i]); j < length; j++) texts[i][j] = "\"x\\"[i % 3];
        world.now.wall_ms += 10;
        id = say(members[i % 2], texts[i]);
        store_look_back(&cursor, members[0]);
        for (back = 0; store_previous(&cursor, scratch, &message); back++) {
            assert_true(back <= i);
            assert_true(message.id == id - back && message.by == members[(i - back) % 2]->by);
            assert_true(message.t == world.now.wall_ms - 10 * (int64_t)back);
            assert_int_equal(message.name.length, strlen(called[(i - back) % 2]));
            assert_memory_equal(message.name.at, called[(i - back) % 2], message.name.length);
            assert_int_equal(message.text.length, strlen(texts[i - back]));
            assert_memory_equal(message.text.at, texts[i - back], message.text.length);
        }
        assert_true(cursor.at == members[0]->room->ring.tail);
    }
    assert_true(back > 3 && back < 400);
    store_look_back(&cursor, members[0]);
    store_leave(members[0], world.now);
    assert_false(store_previous(&cursor, scratch, &message));
}

static void a_held_request_gets_what_is_said_next(void **state)
{
    static unsigned char scratch[STORE_FRAME_MAX];
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    uint64_t id = say(bob, "old");
    struct store_cursor cursor;
    struct store_bytes span;

    (void)state;
    assert_false(store_select(&cursor, ann, after_id(id)));
    store_wait(&cursor, world.now);
    later(30 * SECOND);
    assert_int_equal(ann->is_here, 1);
    assert_false(store_reselect(&cursor));
    say(bob, "new");
    assert_true(store_reselect(&cursor));
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_BYTES);
    assert_true(span.at[0] == '[' && span.at[span.length - 1] == ']');
    store_took_array(&cursor);
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_NOTHING);
    store_unwait(&cursor, world.now);
    later(4999);
    assert_int_equal(ann->is_here, 1);
    later(1);
    assert_int_equal(ann->is_here, 0);
    assert_false(store_select(&cursor, ann, after_id(id + 1))); /* overtaken while it waits: from the oldest on */
    flood(bob);
    assert_true(store_reselect(&cursor));
    assert_int_equal(store_next_array(&cursor, scratch, sizeof scratch, &span), STORE_BYTES);
}

/* ---- members ---- */

static void a_name_is_free_again_a_day_after_its_holder_left(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *other;
    struct reader *reader = follow(ann);

    (void)state;
    say(ann, "hi");
    later(10 * DAY);
    assert_int_equal(try_join("tea", "ANN", &other), STORE_TAKEN); /* she is here */
    unfollow(reader);
    later(GRACE_MS + DAY - 1);
    assert_int_equal(try_join("tea", "ann", &other), STORE_TAKEN);
    assert_ptr_equal(who("tea", "Ann"), ann); /* until somebody asks for it, it is hers */
    later(1);
    assert_int_equal(try_join("tea", "ann", &other), STORE_OK);
    assert_int_equal(other->said, 0);
    assert_int_equal(find_room("tea")->count, 1);
    check_store(world.store);
}

static void a_name_that_never_spoke_is_free_after_ten_minutes(void **state)
{
    struct store_member *other;

    (void)state;
    join("tea", "Ann"); /* to join is no presence */
    later(10 * MINUTE - 1);
    assert_int_equal(try_join("tea", "Ann", &other), STORE_TAKEN);
    later(1);
    assert_int_equal(try_join("tea", "Ann", &other), STORE_OK);
    stop();
    world.options.hold_ms = MINUTE; /* a hold that is shorter yet */
    start();
    later(MINUTE);
    assert_int_equal(try_join("tea", "Ann", &other), STORE_OK);
}

static void a_member_is_here_for_5_s_after_a_stream_and_90_s_after_a_request(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct reader *one, *two;

    (void)state;
    say(ann, "to send is no presence");
    assert_int_equal(ann->is_here, 0);
    one = follow(ann);
    later(SECOND);
    two = follow(ann);
    unfollow(one);
    later(MINUTE);
    assert_int_equal(ann->is_here, 1);
    unfollow(two);
    later(4999);
    assert_int_equal(ann->is_here, 1);
    unfollow(follow(ann)); /* a reload */
    later(4999);
    assert_int_equal(ann->is_here, 1);
    later(1);
    assert_int_equal(ann->is_here, 0);
    store_seen(ann, world.now);
    unfollow(follow(ann));
    later(89999);
    assert_int_equal(ann->is_here, 1);
    later(1);
    assert_int_equal(ann->is_here, 0);
    check_store(world.store);
}

static void who_comes_later_does_not_hide_who_goes_sooner(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");

    (void)state;
    unfollow(follow(bob));
    store_seen(ann, world.now);
    later(5 * SECOND);
    assert_true(ann->is_here && !bob->is_here);
}

static void absence_is_counted_over_restarts(void **state)
{
    struct store_member *other;
    int i;

    (void)state;
    say(join("tea", "Ann"), "hi");
    for (i = 0; i < 3; i++) {
        later(6 * HOUR);
        stop();
        world.now.mono_ms = 77 + i; /* another boot; the years while it was off do not count */
        world.now.wall_ms += 300 * DAY;
        start();
    }
    later(6 * HOUR - 1);
    assert_int_equal(try_join("tea", "Ann", &other), STORE_TAKEN);
    later(1);
    assert_int_equal(try_join("tea", "Ann", &other), STORE_OK);
    say(other, "hi");
    later(6 * HOUR);
    stop();
    start();
    unfollow(follow(who("tea", "Ann"))); /* she comes back: it begins again */
    later(GRACE_MS);
    assert_int_equal(absence(who("tea", "Ann"), world.now), 0);
    assert_int_equal(deserted(find_room("tea"), world.now), 0);
    later(HOUR);
    assert_int_equal(absence(who("tea", "Ann"), world.now), HOUR);
    assert_int_equal(deserted(find_room("tea"), world.now), HOUR);
}

static void absence_is_kept_hourly_while_anyone_is_here(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    struct reader *reader;
    char *bytes;

    (void)state;
    say(ann, "hi");
    say(bob, "ho");
    reader = follow(bob);
    later(HOUR + 10 * MINUTE);
    kill_store();
    reader->is_following = 0;
    start();
    ann = who("tea", "Ann");
    bob = who("tea", "Bob");
    assert_int_equal(absence(ann, world.now), HOUR);
    later(10 * HOUR); /* nobody is here: the file stays as it is */
    kill_store();
    bytes = read_whole(world.path, NULL);
    start();
    free(bytes);
    ann = who("tea", "Ann");
    bob = who("tea", "Bob");
    assert_int_equal(absence(ann, world.now), HOUR);
    later(20 * HOUR);
    follow(ann);
    world.readers[world.reader_count - 1]->is_following = 0;
    later(2 * HOUR); /* she is back: what was kept of her absence is no more */
    kill_store();
    start();
    assert_int_equal(absence(who("tea", "Ann"), world.now), 0);
    assert_true(absence(who("tea", "Bob"), world.now) >= 20 * (int64_t)HOUR);
}

static void an_empty_house_writes_nothing(void **state)
{
    struct stat before, after;

    (void)state;
    join("tea", "Ann");
    later(SECOND);
    stat(world.path, &before);
    fault.syncs = 0;
    later(30 * DAY);
    stat(world.path, &after);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(fault.syncs, 0);
}

static void many_absences_take_several_records(void **state)
{
    struct store_member *member = NULL;
    char name[16];
    size_t i;

    (void)state;
    stop();
    options_like(2, STORE_HISTORY_MIN, 600);
    start();
    for (i = 0; i < 600; i++) {
        snprintf(name, sizeof name, "N%zu", i);
        member = join("tea", name);
        say(member, "x");
    }
    follow(member);
    world.readers[0]->is_following = 0;
    later(HOUR);
    kill_store();
    start();
    assert_int_equal(find_room("tea")->count, 600);
    assert_int_equal(absence(who("tea", "N0"), world.now), HOUR);
    assert_int_equal(absence(who("tea", "N598"), world.now), HOUR);
    assert_int_equal(absence(who("tea", "N599"), world.now), 0);
    assert_string_equal(world.told, "");
}

static void in_a_full_room_who_said_least_gives_way(void **state)
{
    struct store_member *member, *members[8];
    char name[2] = "A";
    size_t i, n;

    (void)state;
    for (i = 0; i < 8; i++) {
        name[0] = (char)('A' + i);
        members[i] = join("tea", name);
        for (n = 0; n < 10 - i; n++) say(members[i], "x");
    }
    follow(members[7]); /* she said least, but is here */
    assert_int_equal(try_join("tea", "New", &member), STORE_NO_PLACE);
    later(DAY - 1);
    assert_int_equal(try_join("tea", "New", &member), STORE_NO_PLACE);
    later(1);
    assert_int_equal(try_join("tea", "New", &member), STORE_OK);
    assert_null(who("tea", "G"));
    assert_non_null(who("tea", "H"));
    assert_int_equal(try_join("tea", "Newer", &member), STORE_OK);
    assert_null(who("tea", "F"));
    assert_int_equal(try_join("tea", "h", &member), STORE_TAKEN);
    assert_int_equal(try_join("tea", "A", &member), STORE_OK); /* the name that is over, not another's */
    assert_non_null(who("tea", "E"));
    assert_int_equal(find_room("tea")->count, 8);
    check_store(world.store);
}

static void a_number_is_never_given_twice(void **state)
{
    struct store_member *member;
    uint64_t last = 0;
    int i;

    (void)state;
    for (i = 0; i < 30; i++) {
        if (i % 10 == 9) {
            stop();
            start();
        }
        member = join("tea", "Ann");
        assert_true(store_by(member) > last);
        if (i % 10 != 0 && i % 10 != 9) assert_int_equal(store_by(member), last + 1);
        last = store_by(member);
        if (i % 2) store_leave(member, world.now);
        else later(DAY);
    }
}

static void a_token_opens_its_own_name_alone(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob");
    unsigned char key[STORE_KEY_SIZE];
    struct store_bytes called;
    unsigned i;

    (void)state;
    make_key(key, 1);
    assert_ptr_equal(store_member(ann->room, key), ann);
    make_key(key, 2);
    assert_ptr_equal(store_member(ann->room, key), bob);
    make_key(key, 3);
    assert_null(store_member(ann->room, key));
    for (i = 4; i < 10; i++) {
        store_leave(join("tea", "Cat"), world.now);
        make_key(key, world.keys);
        assert_null(store_member(ann->room, key));
    }
    called = store_called(ann);
    assert_int_equal(called.length, 3);
    assert_memory_equal(called.at, "Ann", 3);
    assert_ptr_equal(store_room(ann), find_room("tea"));
    assert_null(find_room("coffee"));
    join("coffee", "Ann");
    make_key(key, 1);
    assert_null(store_member(find_room("coffee"), key));
}

static void a_name_can_be_changed_to_one_that_is_free(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("tea", "Bob"), *cat;
    uint64_t by = store_by(ann);

    (void)state;
    assert_int_equal(rename_to(ann, "bob"), STORE_TAKEN);
    assert_int_equal(rename_to(ann, "ANN"), STORE_OK); /* her own in other letters */
    assert_ptr_equal(who("tea", "ann"), ann);
    assert_int_equal(rename_to(ann, "Anna"), STORE_OK);
    assert_int_equal(store_by(ann), by);
    assert_null(who("tea", "Ann"));
    cat = join("tea", "Ann"); /* the old name is free at once */
    later(10 * MINUTE);
    assert_int_equal(rename_to(ann, "Bob"), STORE_OK); /* his time is over: he never spoke */
    assert_ptr_equal(who("tea", "Bob"), ann);
    assert_int_equal(bob->by, 0);
    say(cat, "x");
    assert_int_equal(rename_to(ann, "Ann"), STORE_TAKEN);
    assert_int_equal(ann->room->count, 2);
    check_store(world.store);
    stop();
    start();
    assert_int_equal(who("tea", "bob")->by, by);
    assert_int_equal(find_room("tea")->count, 2);
}

/* ---- rooms ---- */

static void a_room_without_names_and_messages_gives_way_at_once(void **state)
{
    struct store_member *member;

    (void)state;
    say(join("a", "Ann"), "hi");
    join("b", "Ann");
    join("c", "Ann");
    say(join("d", "Ann"), "hi");
    assert_int_equal(try_join("e", "Ann", &member), STORE_NO_ROOM);
    store_leave(who("d", "Ann"), world.now); /* it has a message yet */
    assert_int_equal(try_join("e", "Ann", &member), STORE_NO_ROOM);
    store_leave(who("c", "Ann"), world.now);
    assert_int_equal(try_join("e", "Ann", &member), STORE_OK);
    assert_null(find_room("c"));
    assert_int_equal(find_room("e")->count, 1);
    check_store(world.store);
}

static void a_room_where_one_spoke_gives_way_after_ten_minutes(void **state)
{
    struct store_member *member;
    struct reader *reader;

    (void)state;
    say(join("a", "Ann"), "hi");
    say(join("a", "Bob"), "hi"); /* two spoke */
    reader = follow(join("b", "Ann"));
    say(join("c", "Ann"), "hi");
    later(MINUTE);
    say(join("d", "Ann"), "hi");
    later(9 * MINUTE - 1);
    assert_int_equal(try_join("e", "Ann", &member), STORE_NO_ROOM);
    later(1);
    assert_int_equal(try_join("e", "Ann", &member), STORE_OK);
    assert_null(find_room("c")); /* the longest deserted */
    unfollow(reader);
    later(10 * MINUTE + 4999); /* b: five seconds of grace */
    assert_int_equal(try_join("f", "Ann", &member), STORE_OK);
    assert_null(find_room("d"));
    assert_int_equal(try_join("g", "Ann", &member), STORE_OK);
    assert_null(find_room("e"));
    assert_int_equal(try_join("h", "Ann", &member), STORE_NO_ROOM);
    later(1);
    assert_int_equal(try_join("h", "Ann", &member), STORE_OK);
    assert_null(find_room("b"));
    assert_non_null(find_room("a"));
    check_store(world.store);
}

static void any_deserted_room_gives_way_after_thirty_days(void **state)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    struct store_member *member;
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        say(join(names[i], "Ann"), "hi");
        say(join(names[i], "Bob"), "hi");
        later(DAY);
        stop();
        start();
    }
    later(26 * DAY - 1);
    assert_int_equal(try_join("e", "Ann", &member), STORE_NO_ROOM);
    later(1);
    assert_int_equal(try_join("e", "Ann", &member), STORE_OK);
    assert_null(find_room("a"));
    assert_int_equal(try_join("f", "Ann", &member), STORE_NO_ROOM);
    say(join("e", "Bob"), "hi");
    say(who("e", "Ann"), "hi"); /* else it went first */
    later(3 * DAY);
    assert_int_equal(try_join("f", "Ann", &member), STORE_OK); /* of several the longest deserted */
    assert_null(find_room("b"));
    assert_true(find_room("c") != NULL && find_room("d") != NULL && find_room("e") != NULL);
    check_store(world.store);
}

static void readers_of_a_room_that_gave_way_do_not_hear_the_next(void **state)
{
    struct store_member *ann = join("a", "Ann"), *member;
    struct reader *reader = follow(ann);

    (void)state;
    say(ann, "hi");
    pass_over(reader);
    store_leave(ann, world.now);
    join("b", "Ann");
    join("c", "Ann");
    join("d", "Ann");
    later(10 * MINUTE);
    assert_int_equal(try_join("e", "Ann", &member), STORE_OK);
    assert_null(find_room("a"));
    say(member, "secret");
    assert_int_equal(read_on(reader), STORE_END);
    check_store(world.store);
    unfollow(reader);
    reader = follow(member);
    expect_next(reader, "secret");
    check_store(world.store);
}

static void rooms_are_listed_the_latest_first(void **state)
{
    char list[STORE_LIST_MAX + 1], name[80];
    size_t i;

    (void)state;
    list[store_list(world.store, list)] = '\0';
    assert_string_equal(list, "[]");
    say(join("a\"", "Ann"), "hi");
    world.now.wall_ms++;
    say(join("b", "Ann"), "hi");
    follow(who("b", "Ann"));
    follow(join("c", "Ann"));
    say(join(".d", "Ann"), "hi");
    list[store_list(world.store, list)] = '\0';
    assert_string_equal(list, "[{\"room\":\"b\",\"people\":1,\"last\":1700000000001},"
                              "{\"room\":\"a\\\"\",\"people\":0,\"last\":1700000000000},"
                              "{\"room\":\"c\",\"people\":1,\"last\":null}]");
    world.reader_count = 0;
    for (i = 0; i < 2; i++) {
        free(world.readers[i]->bytes);
        free(world.readers[i]);
    }
    stop();
    options_like(70, STORE_HISTORY_MIN, 2);
    start();
    for (i = 0; i < 66; i++) {
        memset(name, '"', 64);
        snprintf(name + 60, 20, "%04zu", i * 7 % 66);
        world.now.wall_ms = 1700000000010 + (int64_t)(i * 7 % 66);
        say(join(name, "Ann"), "hi");
    }
    i = store_list(world.store, list);
    list[i] = '\0';
    assert_true(is_json(list));
    for (i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "\\\"%04zu\"", 65 - i);
        assert_non_null(strstr(list, name));
        if (i > 0) assert_true(strstr(list, name) > strstr(list, "\"room\""));
    }
    assert_null(strstr(list, "\\\"0001\""));
    assert_true(strstr(list, "0065") < strstr(list, "0064") && strstr(list, "0003") < strstr(list, "0002"));
}

/* ---- rates and nonces ---- */

static void a_bucket_gives_what_it_promises(void **state)
{
    static const struct store_rate rates[] = {{20, 10}, {1, 60}, {7, 3}, {1000, 1}, {1000000, 1}};
    size_t i;
    int64_t wait, n;

    (void)state;
    for (i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        struct store_bucket bucket = {0};
        struct store_rate rate = rates[i];
        for (n = 0; n < rate.tokens; n += n < 100 || n == rate.tokens - 1 ? 1 : rate.tokens - n - 1) {
            int64_t cost = n < 100 || n == rate.tokens - 1 ? 1 : rate.tokens - n - 1;
            assert_int_equal(store_spend(&bucket, rate, cost, world.now, &wait), STORE_OK);
        }
        for (n = 1; n < 5; n++) {
            int64_t cost = n < rate.tokens ? n : rate.tokens;
            struct store_bucket before = bucket;
            assert_int_equal(store_spend(&bucket, rate, cost, world.now, &wait), STORE_BUSY);
            assert_int_equal(bucket.full_us, before.full_us);
            assert_true(wait >= 1 && wait <= cost * rate.period_s * 1000 / rate.tokens + 1);
            world.now.mono_ms += wait - 1;
            if (wait > 1) assert_int_equal(store_spend(&bucket, rate, cost, world.now, &wait), STORE_BUSY);
            world.now.mono_ms += 1;
            assert_int_equal(store_spend(&bucket, rate, cost, world.now, &wait), STORE_OK);
            if (rate.tokens > 1000) break; /* there a ms gives many */
        }
        world.now.mono_ms += rate.period_s * 1000; /* full again, and no fuller */
        assert_int_equal(store_spend(&bucket, rate, rate.tokens, world.now, &wait), STORE_OK);
        assert_int_equal(store_spend(&bucket, rate, 1, world.now, &wait), STORE_BUSY);
        assert_int_equal(store_spend(&bucket, rate, rate.tokens + 9, world.now, &wait), STORE_BUSY);
        world.now.mono_ms += wait;
        assert_int_equal(store_spend(&bucket, rate, rate.tokens + 9, world.now, &wait),
                         STORE_OK); /* never more than N */
    }
}

static enum store_result say_from(struct store_member *member, struct store_bucket *address, const char *text,
                                  int64_t *wait_ms)
{
    struct store_nonce none = {0, 0};
    struct store_receipt receipt;
    enum store_result result = store_send(member, bytes_of(text), none, address, world.now, &receipt);

    *wait_ms = receipt.wait_ms;
    return result;
}

static void a_member_and_an_address_say_so_much_and_no_more(void **state)
{
    struct store_bucket address = {0};
    struct store_member *members[5], *ann;
    int64_t wait;
    int i;

    (void)state;
    world.store->options.rate.tokens = 4;
    world.store->options.rate.period_s = 8; /* a token in two seconds, from an address two in one */
    ann = join("tea", "Ann");
    for (i = 0; i < 4; i++) assert_int_equal(say_from(ann, NULL, "x", &wait), STORE_OK);
    assert_int_equal(say_from(ann, NULL, "x", &wait), STORE_BUSY);
    assert_int_equal(wait, 2000);
    later(1999);
    assert_int_equal(say_from(ann, NULL, "x", &wait), STORE_BUSY);
    assert_int_equal(wait, 1);
    later(1);
    assert_int_equal(say_from(ann, NULL, "x", &wait), STORE_OK);
    later(8000);
    assert_int_equal(say_from(ann, NULL, long_text("", "x", 2500), &wait),
                     STORE_OK); /* a token for each KiB begun: 3 */
    assert_int_equal(say_from(ann, NULL, "x", &wait), STORE_OK);
    assert_int_equal(say_from(ann, NULL, "x", &wait), STORE_BUSY);
    later(8000);
    assert_int_equal(say_from(ann, NULL, long_text("", "\"", 4000), &wait), STORE_OK); /* 8, but all it has is 4 */
    later(8000);
    for (i = 0; i < 5; i++) members[i] = join("coffee", "ABCDE" + i);
    for (i = 0; i < 16; i++) assert_int_equal(say_from(members[i / 4], &address, "x", &wait), STORE_OK);
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_BUSY);
    assert_int_equal(wait, 500);
    for (i = 0; i < 4; i++)
        assert_int_equal(say_from(members[4], NULL, "x", &wait), STORE_OK);   /* she had spent nothing */
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_BUSY); /* both: the longer wait */
    assert_int_equal(wait, 2000);
    later(2000);
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_OK);
    later(0);
    for (i = 0; i < 3; i++) assert_int_equal(say_from(members[i % 3], &address, "x", &wait), STORE_OK);
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_BUSY);
    later(wait - 1);
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_BUSY);
    later(1);
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_OK);
    later(DAY);
    for (i = 0; i < 4; i++) assert_int_equal(say_from(members[4], NULL, "x", &wait), STORE_OK);
    later(1900); /* she must wait 100 ms yet, */
    for (i = 0; i < 16; i++) assert_int_equal(say_from(members[i / 4], &address, "x", &wait), STORE_OK);
    assert_int_equal(say_from(members[4], &address, "x", &wait), STORE_BUSY);
    assert_int_equal(wait, 500);          /* and the address longer */
    world.store->options.rate.tokens = 0; /* off */
    for (i = 0; i < 100; i++) assert_int_equal(say_from(ann, &address, "x", &wait), STORE_OK);
}

static void a_retry_says_nothing_twice(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct store_receipt first, again;
    uint64_t ids[9], head;
    size_t i;
    int round;

    (void)state;
    for (i = 0; i < 9; i++) ids[i] = say_once(ann, "x", 100 + i);
    for (round = 0; round < 4; round++) { /* in memory; after a kill; after a rewrite; after both */
        struct store_room *room = find_room("tea");
        ann = who("tea", "Ann");
        head = room->ring.head;
        for (i = 1; i < 9; i++) {
            world.now.wall_ms += 5;
            assert_int_equal(try_say(ann, round ? "" : "another text", 100 + i, &again), STORE_OK);
            assert_int_equal(again.id, ids[i]);
            assert_int_equal(again.t, 1700000000000);
        }
        assert_int_equal(room->ring.head, head);
        if (round % 2 == 0) kill_store();
        else stop();
        start();
    }
    ann = who("tea", "Ann");
    assert_true(say_once(ann, "x", 100) > ids[8]); /* the ninth back is forgotten */
    assert_true(say_once(ann, "x", 101) > ids[8]); /* and the new one pushed out the next */
    assert_int_equal(say_once(ann, "x", 103), ids[3]);
    head = ann->room->next_id;
    assert_int_equal(say_once(join("tea", "Bob"), "x", 103), head); /* another's is another */
    world.store->options.rate.tokens = 1;
    world.store->options.rate.period_s = 100;
    assert_int_equal(try_say(ann, "x", 200, &first), STORE_OK);
    assert_int_equal(try_say(ann, "x", 201, &again), STORE_BUSY);
    assert_int_equal(try_say(ann, "\377", 200, &again), STORE_OK); /* before the rate and whatever its text */
    assert_int_equal(again.id, first.id);
    {
        struct store_nonce zero = {1, 0};
        struct store_receipt one, two;
        world.store->options.rate.tokens = 0;
        store_send(ann, bytes_of("x"), zero, NULL, world.now, &one);
        store_send(ann, bytes_of("x"), zero, NULL, world.now, &two); /* a digest of 0 is one as well */
        assert_int_equal(one.id, two.id);
    }
}

/* ---- the file ---- */

static char *dump_end;

static void dump(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    dump_end += vsprintf(dump_end, format, arguments);
    va_end(arguments);
}

static void dump_member(const struct store_member *member, int with_times)
{
    size_t i;

    dump("member %llu %.*s said %llu nonces", (unsigned long long)member->by, (int)member->name_length,
         (const char *)member->name, (unsigned long long)member->said);
    for (i = 0; i < NONCES_MAX; i++) {
        const struct nonce *nonce = &member->nonces[(member->nonce_next + i) % NONCES_MAX];
        if (nonce->digest != 0)
            dump(" %llx@%llu@%lld", (unsigned long long)nonce->digest, (unsigned long long)nonce->id,
                 (long long)nonce->t);
    }
    if (with_times) dump(" absent %lld", (long long)absence(member, world.now));
    dump(" key ");
    for (i = 0; i < STORE_KEY_SIZE; i++) dump("%02x", member->key[i]);
    dump("\n");
}

/* All that a restart must bring back, as text; the caller frees it. Numbers are moved on by a start, times are only
 * kept now and then. */
static char *dump_store(const struct store *store, int with_times)
{
    char *text = malloc(1 << 23);
    const struct store_room *room, *rooms[16];
    const struct store_member *member;
    size_t count = 0, i;

    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        if (room->name_length == 0) continue;
        for (i = count++; i > 0 && strcmp((const char *)rooms[i - 1]->name, (const char *)room->name) > 0; i--)
            rooms[i] = rooms[i - 1];
        rooms[i] = room;
    }
    dump_end = text;
    *text = '\0';
    for (i = 0; i < count; i++) {
        room = rooms[i];
        dump("room %.*s last %lld speakers %llu", (int)room->name_length, (const char *)room->name,
             (long long)room->last_t, (unsigned long long)room->speakers);
        if (with_times) dump(" deserted %lld", (long long)deserted(room, world.now));
        dump("\n");
        for (member = member_at(room, room->first); member != NULL; member = member_at(room, member->next)) {
            dump_member(member, with_times);
        }
        ring_copy(&room->ring, room->ring.tail, room->ring.head, (unsigned char *)dump_end);
        dump_end += room->ring.head - room->ring.tail;
        *dump_end = '\0';
    }
    return text;
}

/* Tells the first line that differs. */
static void check_same(const char *found, const char *wanted)
{
    size_t i = 0, line = 0;

    for (; found[i] == wanted[i] && found[i] != '\0'; i++) line = found[i] == '\n' ? i + 1 : line;
    if (found[i] != wanted[i]) fail_msg("found:  %.200s\nwanted: %.200s", found + line, wanted + line);
}

static const char *beside(const char *suffix)
{
    static char path[4][128];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s%s", world.path, suffix);
    return path[turn];
}

static int exists(const char *path) { return access(path, F_OK) == 0; }

/* What a start makes of these bytes; the caller frees it. What it tells is in world.told. */
static char *dump_of(const void *bytes, size_t length, int *kept_damaged)
{
    const char *path = beside(".copy");
    struct store *store;
    char *text;

    write_whole(path, bytes, length);
    world.told[0] = '\0';
    store = open_at(path);
    if (store == NULL) fail_msg("%s", world.reason);
    check_store(store);
    text = dump_store(store, 0);
    free_store(store);
    *kept_damaged = exists(beside(".copy.damaged-1"));
    if (*kept_damaged) remove(beside(".copy.damaged-1"));
    return text;
}

/* The numbers of what a start finds are moved on by what the design says. */
static void check_moved(const struct store *before, const struct store *after)
{
    const struct store_room *room;

    for (room = before->rooms; room < before->rooms + before->rooms_used; room++) {
        struct store_name name;
        const struct store_room *again;
        if (room->name_length == 0) continue;
        memcpy(name.bytes, room->name, name.length = room->name_length);
        again = store_find((struct store *)(uintptr_t)after, &name);
        assert_non_null(again);
        assert_in_range(again->next_id - room->next_id, MOVE_MIN, MOVE_MAX);
        assert_in_range(again->next_by - room->next_by, MOVE_MIN, MOVE_MAX);
    }
}

/* As if the power, or somebody, killed the store now: a start finds all that is in memory. */
static void check_crash(void)
{
    size_t length;
    char *bytes = read_whole(world.path, &length), *memory = dump_store(world.store, 0), *again;
    struct syncer_play of_store = syncer; /* the other has its own */
    struct store *store;

    write_whole(beside(".copy"), bytes, length);
    world.told[0] = '\0';
    store = open_at(beside(".copy"));
    if (store == NULL) fail_msg("%s", world.reason);
    again = dump_store(store, 0);
    check_same(again, memory);
    assert_string_equal(world.told, "");
    check_moved(world.store, store);
    free_store(store);
    syncer = of_store;
    free(bytes);
    free(memory);
    free(again);
}

static void a_start_finds_all_that_was(void **state)
{
    uint64_t seed = 5;
    size_t round, i, rewrites = 0, steps = 0;
    char *before, *after;

    (void)state;
    memset(&spoken, 0, sizeof spoken);
    stop();
    options_like(3, 60000, 6);
    world.options.hold_ms = MINUTE;
    start();
    for (round = 0; round < 3000; round++) {
        if (spoken.count[0] > 19000) memset(&spoken, 0, sizeof spoken);
        chance_act(&seed);
        if (round % 40 == 0) store_rewrite(world.store, world.now);
        if (world.store->rewrite.fd >= 0) {
            steps++;
            (void)tick();
            rewrites += world.store->rewrite.fd < 0;
        }
        if (round % 11 == 0 || (world.store->rewrite.fd >= 0 && round % 3 == 0)) check_crash();
        if (round % 300 == 299) {
            before = dump_store(world.store, 1);
            stop();
            start();
            after = dump_store(world.store, 1);
            check_same(before, after);
            free(before);
            free(after);
            for (i = 0; i < 3; i++) spoken.count[i] = 0;
            check_store(world.store);
        }
    }
    assert_true(rewrites > 20 && steps > rewrites);
}

/* To stop a rewrite between any two members, as a larger room would: */
static void step_by_little(struct store *store, uint64_t *seed)
{
    struct rewrite *rewrite = &store->rewrite;
    size_t size = store->batch.size;

    store->batch.size = RECORD_MAX + random_below(seed, 400); /* room for a frame or for some members */
    if (rewrite->phase == MEMBERS) store->batch.size = MEMBER_RECORD_MAX + random_below(seed, 400);
    store->batch.length = 0;
    if (store->rooms[rewrite->room].name_length == 0) rewrite->room++;
    else if (rewrite->phase == FRAMES) copy_frames(store, &store->rooms[rewrite->room]);
    else copy_members(store, &store->rooms[rewrite->room], world.now);
    store->batch.size = size;
    assert_int_equal(write_all(rewrite->fd, store->batch.bytes, store->batch.length), 0);
    rewrite->size += store->batch.length;
}

static void a_rewrite_misses_nothing_that_happens_meanwhile(void **state)
{
    uint64_t seed = 99;
    size_t round, act, whole = 0;

    (void)state;
    stop();
    options_like(3, 0, 12);
    world.options.hold_ms = 10 * SECOND;
    start();
    for (round = 0; round < 400; round++) {
        memset(&spoken, 0, sizeof spoken);
        for (act = 0; act < 30; act++) chance_act(&seed);
        store_rewrite(world.store, world.now);
        while (world.store->rewrite.fd >= 0 && world.store->rewrite.room < world.store->rooms_used) {
            step_by_little(world.store, &seed);
            for (act = random_below(&seed, 4); act > 0; act--) {
                size_t turn = random_below(&seed, 12);
                if (turn != 5) chance_act_of(turn, &seed); /* time stands, else the rewrite would go on */
            }
        }
        if (world.store->rewrite.fd < 0) continue; /* a room gave way: it was abandoned */
        whole++;
        assert_true(tick() != 0);
        assert_true(world.store->rewrite.fd < 0);
        check_crash();
    }
    assert_true(whole > 100);
}

/* A small file with every kind of record: its bytes, and where its records end. */
static struct {
    char *bytes;
    size_t length, ends[64], count;
} sample;

static void make_sample(void)
{
    struct store_member *ann, *bob;
    const char *at;

    options_like(2, STORE_HISTORY_MIN, 3);
    if (world.store != NULL) stop();
    remove(world.path);
    start();
    ann = join("tea", "Ann");
    say_once(ann, "one", 7);
    bob = join("tea", "B\303\266b");
    say(bob, ":end 12345678 tea");
    follow(bob);
    world.readers[0]->is_following = 0;
    later(HOUR);
    rename_to(ann, "Anna");
    store_leave(bob, world.now);
    join("coffee", "Cat");
    store_leave(who("coffee", "Cat"), world.now);
    say(join("milk", "Dan"), "two"); /* coffee gives way */
    say(ann, "three");
    kill_store();
    world.reader_count = 0;
    free(world.readers[0]->bytes);
    free(world.readers[0]);
    sample.bytes = read_whole(world.path, &sample.length);
    for (sample.count = 0, at = sample.bytes; (at = strstr(at, "\n\n")) != NULL; at += 2) {
        sample.ends[sample.count++] = (size_t)(at + 2 - sample.bytes);
    }
    assert_int_equal(sample.ends[sample.count - 1], sample.length);
    world.told[0] = '\0';
}

/* The sample without its record NUMBER. */
static char *without(size_t number, size_t *length)
{
    size_t start_at = number > 0 ? sample.ends[number - 1] : 0, size = sample.ends[number] - start_at;
    char *bytes = malloc(sample.length);

    memcpy(bytes, sample.bytes, start_at);
    memcpy(bytes + start_at, sample.bytes + start_at + size, sample.length - start_at - size);
    *length = sample.length - size;
    return bytes;
}

static void the_file_reads_as_text(void **state)
{
    char *record;
    size_t i;

    (void)state;
    make_sample();
    for (i = 0; i < 6; i++) assert_non_null(strstr(sample.bytes, kinds[i]));
    record = strstr(sample.bytes, ":message ");
    assert_non_null(record);
    assert_int_equal(strncmp(record + 17, " 0000000000000007 tea\nid: ", 26), 0);
    assert_non_null(strstr(sample.bytes, "\"text\":\"one\"}\n\n"));
    assert_non_null(strstr(sample.bytes, " tea/Ann\n\n"));
    for (i = 0; i < sample.length; i++) assert_true(sample.bytes[i] == '\n' || (unsigned char)sample.bytes[i] >= 0x20);
    free(sample.bytes);
}

static void a_torn_end_costs_the_torn_record_alone(void **state)
{
    char *whole, *torn;
    size_t length, border = 0;
    int kept;

    (void)state;
    make_sample();
    whole = dump_of("", 0, &kept);
    for (length = 0; length <= sample.length; length++) {
        torn = dump_of(sample.bytes, length, &kept);
        assert_false(kept);
        if (length == (border == 0 ? 0 : sample.ends[border - 1])) {
            assert_string_equal(world.told, "");
        } else if (length == sample.ends[border]) {
            assert_string_equal(world.told, "");
            border++;
            free(whole);
            whole = torn;
            continue;
        } else {
            assert_non_null(strstr(world.told, "torn record"));
            if (border > 0) assert_non_null(strstr(world.told, "bytes were cut off"));
        }
        check_same(torn, whole);
        free(torn);
    }
    assert_int_equal(border, sample.count);
    assert_true(strstr(whole, "three") != NULL && strstr(whole, "Anna") != NULL && strstr(whole, "room milk") != NULL);
    free(whole);
    free(sample.bytes);
}

static void a_message_that_a_lost_border_hides_is_kept_beside(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    char *found, *bytes;
    size_t length;
    int kept;

    (void)state;
    say(ann, "one");
    say(ann, "two");
    bytes = read_whole(world.path, &length);
    bytes[strstr(bytes, "one\"}\n\n") - bytes + 5] = ' '; /* both newlines between the two */
    bytes[strstr(bytes, "one\"} \n") - bytes + 6] = ' ';
    found = dump_of(bytes, length, &kept);
    assert_true(kept);
    assert_non_null(strstr(world.told, "is damaged"));
    free(found);
    free(bytes);
}

static void an_end_that_never_was_a_record_is_kept_beside(void **state)
{
    static const char *const ends[] = {"hello world\n\n", "no newline here"};
    char *whole, *found;
    size_t i;
    int kept;

    (void)state;
    make_sample();
    whole = dump_of(sample.bytes, sample.length, &kept);
    for (i = 0; i < 2; i++) {
        size_t length = sample.length + strlen(ends[i]);
        char *bytes = malloc(length);
        assert_non_null(bytes);
        memcpy(bytes, sample.bytes, sample.length);
        memcpy(bytes + sample.length, ends[i], strlen(ends[i]));
        found = dump_of(bytes, length, &kept);
        assert_true(kept);
        check_same(found, whole);
        free(found);
        memset(bytes + sample.length, 0, strlen(ends[i])); /* but zeros are a power cut's */
        found = dump_of(bytes, length, &kept);
        assert_false(kept);
        check_same(found, whole);
        free(found);
        free(bytes);
    }
    free(whole);
    free(sample.bytes);
}

static void a_damaged_byte_costs_its_record_alone(void **state)
{
    static const unsigned char flips[] = {0x01, 0x80, 0x20};
    size_t number, i, flip;
    int kept;

    (void)state;
    make_sample();
    for (number = 0, i = 0; number < sample.count; number++) {
        size_t length;
        int is_end = memcmp(sample.bytes + i, ":end ", 5) == 0; /* without it there is a room too many */
        char *less = without(number, &length),
             *wanted = is_end ? dump_of(sample.bytes, sample.length, &kept) : dump_of(less, length, &kept);
        for (; i < sample.ends[number]; i++) {
            for (flip = 0; flip < sizeof flips + 1; flip++) {
                char byte = sample.bytes[i], *found;
                sample.bytes[i] = flip < sizeof flips ? (char)(byte ^ (char)flips[flip]) : '\n';
                if (sample.bytes[i] == byte) continue;
                found = dump_of(sample.bytes, sample.length, &kept);
                if (strcmp(found, wanted) != 0)
                    fail_msg("byte %zu of record %zu, flip %zu:\n%s\n%s", i, number, flip, found, wanted);
                assert_true(kept || number + 1 == sample.count); /* the last may be a crash's trace */
                assert_non_null(strstr(world.told, kept ? "is damaged" : "torn record"));
                sample.bytes[i] = byte;
                free(found);
            }
        }
        free(less);
        free(wanted);
    }
    free(sample.bytes);
}

static void damage_is_kept_beside_and_mended_for_good(void **state)
{
    char *bytes, *kept, *first, *second;
    size_t length;
    int again;

    (void)state;
    make_sample();
    write_whole(beside(".damaged-1"), "older", 5);
    sample.bytes[sample.ends[2] + 20] ^= 1;
    write_whole(world.path, sample.bytes, sample.length);
    start();
    assert_non_null(strstr(world.told, "is kept as "));
    kept = read_whole(beside(".damaged-2"), &length);
    assert_int_equal(length, sample.length);
    assert_memory_equal(kept, sample.bytes, length);
    say(who("tea", "Anna"), "on it goes");
    first = dump_store(world.store, 0);
    kill_store();
    bytes = read_whole(world.path, &length);
    second = dump_of(bytes, length, &again);
    assert_string_equal(world.told, "");
    check_same(first, second);
    free(bytes);
    free(kept);
    free(first);
    free(second);
    free(sample.bytes);
}

static void damage_that_hid_who_gave_way_does_not_refuse_the_start(void **state)
{
    char *bytes, *gone, *found;
    size_t length;
    int kept;

    (void)state;
    stop();
    options_like(2, STORE_HISTORY_MIN, 2);
    start();
    say(join("tea", "Ann"), "hi");
    say(join("tea", "Bob"), "hi");
    say(who("tea", "Bob"), "ho");
    store_leave(who("tea", "Ann"), world.now);
    join("tea", "Cat");
    say(who("tea", "Cat"), "hi");
    bytes = read_whole(world.path, &length);
    gone = strstr(bytes, ":gone");
    gone[8] ^= 1;
    found = dump_of(bytes, length, &kept);
    assert_true(kept && strstr(found, " Cat said 1") != NULL && strstr(found, " Bob said 2") != NULL);
    assert_null(strstr(found, " Ann said"));
    free(bytes);
    free(found);
}

static void damage_is_told_where_it_cannot_be_kept_beside(void **state)
{
    (void)state;
    make_sample();
    sample.bytes[20] ^= 1;
    write_whole(world.path, sample.bytes, sample.length);
    break_disk(CALL_LINK | CALL_WRITE, EIO, 2);
    start();
    assert_non_null(strstr(world.told, "could not be kept beside (Input/output error)"));
    assert_false(exists(beside(".damaged-1")));
    assert_non_null(who("tea", "Anna"));
    free(sample.bytes);
}

static void a_damaged_file_is_copied_beside_where_there_are_no_links(void **state)
{
    char *kept;
    size_t length;

    (void)state;
    make_sample();
    sample.bytes[20] ^= 1;
    write_whole(world.path, sample.bytes, sample.length);
    write_whole(beside(".damaged-1"), "older", 5);
    break_disk(CALL_LINK, EPERM, 2); /* as on FAT */
    start();
    assert_non_null(strstr(world.told, ".damaged-2"));
    kept = read_whole(beside(".damaged-2"), &length);
    assert_int_equal(length, sample.length);
    assert_memory_equal(kept, sample.bytes, length);
    free(kept);
    free(sample.bytes);
}

static void a_damaged_file_is_kept_as_it_is_until_a_new_one_is_written(void **state)
{
    struct store_receipt receipt;
    char *bytes, *first, *second;
    size_t length;
    int kept;

    (void)state;
    make_sample();
    sample.bytes[sample.ends[sample.count - 2] - 9] ^= 1; /* the last two: more than a torn end */
    memcpy(sample.bytes + sample.length - 9, "garbage!!", 9);
    write_whole(world.path, sample.bytes, sample.length);
    break_disk(CALL_RENAME, EIO, 1);
    start();
    assert_non_null(strstr(world.told, "is damaged"));
    assert_true(exists(beside(".damaged-1")));
    assert_non_null(strstr(world.told, "can't be written anew"));
    assert_int_equal(try_say(who("tea", "Anna"), "not yet", 0, &receipt), STORE_FULL);
    bytes = read_whole(world.path, &length); /* the damaged file stays as it was */
    assert_int_equal(length, sample.length);
    assert_memory_equal(bytes, sample.bytes, length);
    free(bytes);
    later(10 * SECOND);
    assert_non_null(strstr(world.told, "is written anew again"));
    say(who("tea", "Anna"), "on it goes");
    first = dump_store(world.store, 0);
    bytes = read_whole(world.path, &length);
    second = dump_of(bytes, length, &kept);
    assert_string_equal(world.told, "");
    check_same(first, second);
    free(bytes);
    free(first);
    free(second);
    bytes = read_whole(beside(".damaged-1"), &length);
    assert_int_equal(length, sample.length);
    assert_memory_equal(bytes, sample.bytes, length);
    free(bytes);
    free(sample.bytes);
}

static void much_damage_hides_no_record(void **state)
{
    static char bytes[3 * LOAD_SIZE];
    size_t pads[] = {1000, LOAD_SIZE - 2000, LOAD_SIZE - 9, LOAD_SIZE, 2 * LOAD_SIZE + 77}, i, shift;
    char *wanted, *found;
    int kept;

    (void)state;
    make_sample();
    wanted = dump_of(sample.bytes, sample.length, &kept);
    for (i = 0; i < sizeof pads / sizeof pads[0]; i++) {
        for (shift = 0; shift < 40; shift += 3) { /* over the borders of the window */
            size_t at = sample.ends[3], pad = pads[i] - shift;
            memcpy(bytes, sample.bytes, at);
            memset(bytes + at, i % 2 ? ':' : 'x', pad);
            memcpy(bytes + at + pad / 2, ":gone 0", 7);
            bytes[at + pad - 1] = '\n';
            memcpy(bytes + at + pad, sample.bytes + at, sample.length - at);
            found = dump_of(bytes, sample.length + pad, &kept);
            check_same(found, wanted);
            assert_true(kept);
            free(found);
        }
    }
    free(wanted);
    free(sample.bytes);
}

/* A damaged file with a torn end is written anew; then the folder's fsync fails. */
static void a_new_file_is_not_cut_where_the_damaged_one_was(void **state)
{
    char *wanted, *found;

    (void)state;
    make_sample();
    sample.bytes[sample.ends[1] - 4] ^= 1;
    write_whole(world.path, sample.bytes, sample.length - 3);
    break_disk(CALL_FSYNC, EIO, 100);
    fault.after = 1;
    start();
    heal();
    wanted = dump_store(world.store, 0);
    kill_store();
    world.told[0] = '\0';
    start();
    assert_string_equal(world.told, "");
    found = dump_store(world.store, 0);
    assert_string_equal(found, wanted);
    free(wanted);
    free(found);
    free(sample.bytes);
}

/* A text that looks like a record, with its right sum, and cut out of its line by damage. */
static void no_text_can_pass_for_a_record(void **state)
{
    static char bytes[LOAD_SIZE + 10000];
    struct out out = {(unsigned char *)bytes, sizeof bytes, 0};
    struct store_name name;
    size_t sum_at, offset, pad, length;
    struct store *store;

    (void)state;
    join("tea", "Ann");
    for (offset = 0; offset < 64; offset++) {
        out.length = 0;
        put(&out, ":room 00000000 damaged\n\n");
        for (pad = LOAD_SIZE - 40 - out.length + offset; pad > 0; pad--) put_byte(&out, 'x');
        sum_at = begin_record(&out, ":room ");
        put(&out, "7 7 0 0 0 forged\"}\n\n");
        end_record(world.store, &out, sum_at);
        length = out.length;
        world.store->batch.length = 0;
        put_room_record(&world.store->batch, find_room("tea"), world.now);
        memcpy(bytes + length, world.store->batch.bytes, world.store->batch.length);
        write_whole(beside(".copy"), bytes, length + world.store->batch.length);
        store = open_at(beside(".copy"));
        assert_non_null(store);
        name = room_name("forged\"}");
        assert_null(store_find(store, &name));
        name = room_name("tea");
        assert_non_null(store_find(store, &name));
        free_store(store);
    }
}

static void a_foreign_file_is_refused_and_left_untouched(void **state)
{
    static char big[LOAD_SIZE + 5000];
    static const char *const foreign[] = {"x",      "hello\n", "%PDF-1.4\n%....", "id: 7\ndata: {}\n\n", ": comment\n",
                                          ":roo\n", "\n",      "rooms:room "};
    size_t i, length;
    char *bytes;

    (void)state;
    big[5000] = 'x'; /* a disk's image begins with zeros */
    for (i = 0; i < sizeof foreign / sizeof foreign[0] + 2; i++) {
        int is_text = i < sizeof foreign / sizeof foreign[0];
        const char *wanted = is_text ? foreign[i] : big;
        size_t size = is_text ? strlen(wanted) : sizeof big;
        if (i == sizeof foreign / sizeof foreign[0] + 1) {
            big[5000] = 0;
            big[sizeof big - 1] = 'x';
        }
        write_whole(world.path, wanted, size);
        chmod(world.path, 0644);
        assert_null(open_at(world.path));
        assert_non_null(strstr(world.reason, "is not a data file of snug"));
        bytes = read_whole(world.path, &length);
        assert_int_equal(length, size);
        assert_memory_equal(bytes, wanted, size);
        free(bytes);
    }
    assert_string_equal(world.told, "");
}

static void zeros_are_a_power_cut_s_trace(void **state)
{
    static char zeros[LOAD_SIZE + 5000];
    char *wanted, *found, *bytes;
    int kept;

    (void)state;
    found = dump_of(zeros, sizeof zeros, &kept);
    assert_string_equal(found, "");
    assert_false(kept);
    free(found);
    make_sample();
    wanted = dump_of(sample.bytes, sample.length, &kept);
    bytes = calloc(1, sample.length + 4096);
    memcpy(bytes, sample.bytes, sample.length);
    found = dump_of(bytes, sample.length + 4096, &kept);
    check_same(found, wanted);
    assert_false(kept);
    free(bytes);
    free(wanted);
    free(found);
    free(sample.bytes);
}

/* A start after a power cut that left zeros in the records from FROM to TO of the file, bar the last newline, which lies
 * in the next block. */
static void start_with_hole(uint64_t from, uint64_t to)
{
    size_t length;
    char *bytes;

    kill_store();
    bytes = read_whole(world.path, &length);
    assert_true(from < to && to <= length);
    memset(bytes + from, 0, (size_t)(to - 1 - from));
    write_whole(world.path, bytes, length);
    free(bytes);
    start();
}

static void behind_a_hole_the_newcomer_gives_way(void **state)
{
    struct store_member *bob, *carol;
    struct store_name name;
    uint64_t from, to;
    int i;

    (void)state;
    stop();
    options_like(2, STORE_HISTORY_MIN, 2);
    start();
    say(join("tea", "Ann"), "hi");
    bob = join("tea", "Bob");
    say(bob, "hi");
    say(bob, "again");
    from = world.store->size;
    store_leave(bob, world.now); /* of which a start will not know, */
    to = world.store->size;
    (void)join("tea", "Dan");
    start_with_hole(from, to);
    assert_non_null(who("tea", "Ann")); /* though she said least */
    assert_non_null(who("tea", "Bob"));
    assert_null(who("tea", "Dan"));
    from = world.store->size;
    name = member_name("Anna");
    assert_int_equal(store_rename(who("tea", "Ann"), &name, world.now), STORE_OK);
    to = world.store->size;
    name = member_name("Ann");
    assert_int_equal(store_rename(who("tea", "Bob"), &name, world.now), STORE_OK);
    start_with_hole(from, to);
    assert_int_equal(who("tea", "Ann")->said, 1);
    assert_int_equal(who("tea", "Bob")->said, 2);
    later(SECOND);
    carol = join("milk", "Carol");
    say(carol, "hi");
    for (i = 0; i < 11; i++) {
        store_seen(who("tea", "Ann"), world.now);
        later(MINUTE);
    }
    from = world.store->size;
    (void)join("coffee", "Eve"); /* and milk gives way */
    to = world.store->size;
    assert_null(find_room("milk"));
    (void)join("coffee", "Fay");
    start_with_hole(from, to);
    assert_non_null(who("tea", "Ann")); /* though that room was silent for longest */
    assert_non_null(who("milk", "Carol"));
    assert_null(find_room("coffee"));
}

static void a_nonce_whose_message_a_hole_took_says_it_again(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    uint64_t kept = say_once(ann, "kept", 6), lost, from = world.store->size, to;
    struct store_name name = {4, "Anna"};

    (void)state;
    lost = say_once(ann, "lost", 7);
    to = world.store->size;
    assert_int_equal(store_rename(ann, &name, world.now), STORE_OK); /* her record knows both nonces */
    start_with_hole(from, to);
    ann = who("tea", "Anna");
    assert_true(say_once(ann, "kept", 6) == kept);
    assert_true(say_once(ann, "lost", 7) > lost);
    check_crash();
}

/* Zeros end where a block does, and a record may begin there. */
static void a_record_right_behind_zeros_is_kept(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    uint64_t from = world.store->size, to;
    size_t length;
    char *bytes, *found;
    int kept;

    (void)state;
    (void)say(ann, "lost");
    to = world.store->size;
    (void)say(ann, "behind");
    bytes = read_whole(world.path, &length);
    memset(bytes + from, 0, (size_t)(to - from));
    found = dump_of(bytes, length, &kept);
    assert_true(kept);
    assert_non_null(strstr(found, "\"behind\""));
    free(found);
    free(bytes);
}

/* A torn record is no longer than one can be. */
static void much_that_never_was_a_record_is_kept_beside(void **state)
{
    char *bytes, *found;
    int kept;

    (void)state;
    make_sample();
    bytes = malloc(sample.length + 100000);
    memcpy(bytes, sample.bytes, sample.length);
    memset(bytes + sample.length - 5, 'x', 100000); /* the last record's head is as it was */
    found = dump_of(bytes, sample.length - 5 + 100000, &kept);
    assert_true(kept);
    free(found);
    free(bytes);
    free(sample.bytes);
}

static void a_nonce_whose_message_a_hole_took_before_all_that_is_held_says_it_again(void **state)
{
    struct store_name name = {4, "Anna"};
    int round;

    (void)state;
    for (round = 0; round < 2; round++) {
        struct store_member *ann;
        uint64_t lost, held = 0, from, to;
        stop();
        remove(world.path);
        start();
        ann = join("tea", "Ann");
        from = world.store->size;
        lost = say_once(ann, "lost", 7); /* the room's first */
        to = world.store->size;
        if (round == 1) held = say_once(ann, "held", 8);
        assert_int_equal(store_rename(ann, &name, world.now), STORE_OK);
        start_with_hole(from, to);
        ann = who("tea", "Anna");
        if (round == 1) assert_true(say_once(ann, "held", 8) == held);
        assert_true(say_once(ann, "lost", 7) > lost);
    }
}

/* But one that is held no more, because the ring is full, was said. */
static void a_nonce_whose_message_gave_way_says_nothing_again_behind_a_hole(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct store_name name = {4, "Anna"};
    uint64_t said, from, to;

    (void)state;
    said = say_once(ann, "said", 6);
    while (frame_id(&find_room("tea")->ring, find_room("tea")->ring.tail) <= said) {
        (void)say(ann, long_text("", "x", STORE_TEXT_MAX));
        later(MINUTE);
    }
    from = world.store->size;
    (void)say_once(ann, "lost", 7);
    to = world.store->size;
    assert_int_equal(store_rename(ann, &name, world.now), STORE_OK);
    start_with_hole(from, to);
    assert_true(say_once(who("tea", "Anna"), "said", 6) == said);
}

static void every_start_moves_the_numbers_on(void **state)
{
    uint64_t id, by, other;
    int i;

    (void)state;
    other = say(join("a", "Ann"), "hi");
    id = say(join("tea", "Ann"), "hi");
    by = find_room("tea")->next_by;
    for (i = 0; i < 20; i++) {
        if (i % 2) stop();
        else kill_store();
        if (i == 10) break_disk(CALL_WRITE, ENOSPC, 1000); /* a full disk is no reason not to start */
        start();
        if (i == 10) assert_non_null(strstr(world.told, "can't be written"));
        heal();
        assert_in_range(find_room("tea")->next_id - 1 - id, MOVE_MIN, MOVE_MAX);
        assert_in_range(find_room("tea")->next_by - by, MOVE_MIN, MOVE_MAX);
        assert_in_range(find_room("a")->next_id - 1 - other, MOVE_MIN, MOVE_MAX);
        other = say(who("a", "Ann"), "hi");
        by = find_room("tea")->next_by;
        id = say(who("tea", "Ann"), "hi");
    }
    find_room("tea")->next_id = find_room("tea")->next_by = NUMBER_END / 2 + 5; /* it does not come to the end */
    stop();
    start();
    assert_int_equal(find_room("tea")->next_id, NUMBER_END / 2 + 5);
    assert_int_equal(find_room("tea")->next_by, NUMBER_END / 2 + 5);
}

static void the_moved_numbers_are_synced_before_the_start_is_over(void **state)
{
    (void)state;
    say(join("tea", "Ann"), "hi");
    kill_store();
    fault.syncs = 0;
    start();
    assert_int_equal(fault.syncs, 2); /* the file, and its folder: a kill may have come between rename and fsync */
    assert_int_equal(world.store->unsynced_ms, -1);
    fault.syncs = 0;
    stop();
    assert_int_equal(fault.syncs, 2); /* the file and its folder */
    remove(world.path);
    fault.syncs = 0;
    start();
    assert_int_equal(fault.syncs, 1); /* the folder: the file is new */
}

static void what_is_written_is_synced_a_second_later_at_most(void **state)
{
    struct store_member *ann = join("tea", "Ann");

    (void)state;
    later(2 * SECOND);
    fault.syncs = 0;
    say(ann, "hi");
    later(500);
    say(ann, "hi");
    later(499);
    assert_int_equal(fault.syncs, 0);
    later(1);
    assert_int_equal(fault.syncs, 1);
    later(10 * SECOND);
    assert_int_equal(fault.syncs, 1);
}

/* ---- a disk that fails ---- */

static void what_cannot_be_written_is_refused_and_nothing_changes(void **state)
{
    static const struct {
        int kinds, error;
    } rows[] = {{CALL_WRITE, ENOSPC},
                {CALL_WRITE, EIO},
                {CALL_WRITE, EFBIG},
                {CALL_WRITE, EDQUOT},
                {CALL_WRITE, 0},
                {CALL_WRITE | CALL_FTRUNCATE, ENOSPC},
                {CALL_WRITE | CALL_FTRUNCATE, 0}};
    struct store_member *ann = join("tea", "Ann"), *other;
    struct reader *reader = follow(ann);
    struct store_receipt receipt;
    size_t i, length, now_length;
    char *before, *after, *bytes, *now_bytes;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        world.told[0] = '\0';
        pass_over(reader);
        before = dump_store(world.store, 0);
        bytes = read_whole(world.path, &length);
        break_disk(rows[i].kinds, rows[i].error, 1000);
        assert_int_equal(try_say(ann, "lost", 5 + i, &receipt), STORE_FULL);
        assert_int_equal(errno, rows[i].error == 0 ? ENOSPC : rows[i].error);
        assert_int_equal(try_say(ann, "lost", 0, &receipt), STORE_FULL);
        assert_int_equal(try_join("tea", "New", &other), STORE_FULL);
        assert_int_equal(try_join("new", "New", &other), STORE_FULL);
        assert_int_equal(rename_to(ann, "Anna"), STORE_FULL);
        after = dump_store(world.store, 0);
        check_same(before, after);
        expect_nothing(reader);
        if (!(rows[i].kinds & CALL_FTRUNCATE)) {
            now_bytes = read_whole(world.path, &now_length);
            assert_int_equal(now_length, length);
            assert_memory_equal(now_bytes, bytes, length);
            free(now_bytes);
        }
        assert_non_null(strstr(world.told, "can't be written ("));
        assert_ptr_equal(strstr(world.told, "can't be written ("), strstr(world.told, "can't")); /* told once */
        if (strchr(world.told, '\n')[1] != '\0') fail_msg("%s", world.told);
        heal();
        world.told[0] = '\0';
        say_once(ann, "kept", 5 + i); /* the nonce was not used up */
        expect_next(reader, "kept");
        assert_non_null(strstr(world.told, "can be written again"));
        check_crash();
        free(before);
        free(after);
        free(bytes);
    }
    break_disk(CALL_WRITE | CALL_FTRUNCATE | CALL_FSYNC, EINTR, 3);
    say(ann, "in spite of signals");
    expect_next(reader, "in spite of signals");
    check_crash();
}

static void who_leaves_on_a_full_disk_has_left(void **state)
{
    char *bytes;
    size_t length;
    int round;

    (void)state;
    for (round = 0; round < 2; round++) {
        say(join("tea", "Ann"), "hi");
        say(join("tea", "Bob"), "hi");
        if (round == 1) { /* in the middle of a rewrite that has copied her already */
            store_rewrite(world.store, world.now);
            world.store->rewrite.room = world.store->rooms_used;
        }
        break_disk(CALL_WRITE, ENOSPC, 1000);
        store_leave(who("tea", "Ann"), world.now);
        assert_null(who("tea", "Ann"));
        later(25 * SECOND);
        bytes = read_whole(world.path, &length);
        assert_null(strstr(bytes, ":gone"));
        free(bytes);
        heal();
        later(10 * SECOND);
        check_crash();
        store_leave(who("tea", "Bob"), world.now);
        stop();
        remove(world.path);
        start();
    }
}

static void a_rewrite_that_fails_leaves_the_old_file_and_is_tried_again(void **state)
{
    static const int rows[] = {CALL_OPEN, CALL_RENAME, CALL_FSYNC, CALL_WRITE};
    struct store_member *ann = join("tea", "Ann");
    size_t i, j, length;
    char *bytes;

    (void)state;
    for (i = 0; i < 4; i++) {
        say(ann, "hi");
        later(2 * SECOND);
        bytes = read_whole(world.path, &length);
        world.told[0] = '\0';
        break_disk(rows[i], EIO, 1000);
        store_rewrite(world.store, world.now);
        later(35 * SECOND);
        assert_false(exists(beside(".new")));
        assert_non_null(strstr(world.told, "can't be written anew"));
        assert_int_equal(strchr(world.told, '\n')[1], '\0'); /* told once */
        for (j = 0; j < 2; j++) {
            size_t now_length;
            char *now_bytes = read_whole(world.path, &now_length);
            assert_int_equal(now_length, length);
            assert_memory_equal(now_bytes, bytes, length);
            free(now_bytes);
        }
        if (rows[i] != CALL_WRITE) say(ann, "this goes on");
        world.told[0] = '\0';
        heal();
        later(11 * SECOND);
        assert_non_null(strstr(world.told, "is written anew again"));
        check_crash();
        free(bytes);
    }
    bytes = read_whole(world.path, &length);
    break_disk(CALL_RENAME, EROFS, 1000);
    assert_int_equal(store_close(world.store, world.now), -1);
    assert_int_equal(errno, EROFS);
    heal();
    start();
    assert_non_null(who("tea", "Ann"));
    free(bytes);
}

static void a_rewrite_that_cannot_keep_up_is_given_up_and_nobody_notices(void **state)
{
    struct store_member *ann = join("tea", "Ann");

    (void)state;
    store_rewrite(world.store, world.now);
    world.store->rewrite.room = world.store->rooms_used; /* it has copied her */
    break_disk(CALL_WRITE, ENOSPC, 1);
    fault.after = 1; /* the second write is that to the new file */
    say(ann, "hi");
    assert_true(world.store->rewrite.fd < 0);
    assert_non_null(strstr(world.told, "can't be written anew"));
    assert_null(strstr(world.told, "nothing new is taken"));
    check_crash();
    later(11 * SECOND);
    assert_false(world.store->behind);
    check_crash();
}

static void a_place_without_a_room_is_no_part_of_the_file(void **state)
{
    size_t length;
    char *bytes;

    (void)state;
    join("a", "Ann");
    join("b", "Ann");
    world.store->batch.length = 0;
    put_end_record(&world.store->batch, find_room("a"));
    assert_int_equal(append(world.store, find_room("a"), world.now), 0);
    kill_store();
    start();
    assert_null(find_room("a"));
    assert_int_equal(world.store->rooms_used, 2);
    stop();
    bytes = read_whole(world.path, &length);
    assert_null(strstr(bytes, " a\n"));
    assert_null(strstr(bytes, " a/"));
    assert_non_null(strstr(bytes, " b/Ann\n\n"));
    free(bytes);
    start();
    check_store(world.store);
}

static void rooms_that_come_and_go_do_not_stop_a_rewrite(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *other;
    int steps = 0;

    (void)state;
    stop();
    options_like(2, 200000, 4);
    start();
    ann = who("tea", "Ann");
    while (world.store->size < 3 * REWRITE_SLICE) say(ann, "so that it takes some slices");
    join("guest", "Bob");
    store_rewrite(world.store, world.now);
    for (; world.store->rewrite.fd >= 0 && steps < 100; steps++) {
        (void)tick();
        store_leave(who("guest", "Bob"), world.now);
        assert_int_equal(try_join("other", "Bob", &other), STORE_OK); /* in the place of the other */
        store_leave(other, world.now);
        join("guest", "Bob");
        check_crash();
    }
    assert_true(steps > 2 && steps < 100);
    assert_int_equal(world.store->behind, 0);
}

static void a_room_that_gives_way_in_the_middle_of_a_rewrite_is_gone(void **state)
{
    struct store_member *member;

    (void)state;
    flood(join("a", "Ann"));
    join("b", "Ann");
    join("c", "Ann");
    say(join("d", "Ann"), "hi");
    later(10 * MINUTE);
    store_seen(who("b", "Ann"), world.now);
    store_seen(who("c", "Ann"), world.now);
    store_seen(who("d", "Ann"), world.now);
    store_rewrite(world.store, world.now);
    world.store->batch.length = 0;
    copy_frames(world.store, find_room("a"));
    assert_int_equal(write_all(world.store->rewrite.fd, world.store->batch.bytes, world.store->batch.length), 0);
    assert_true(world.store->rewrite.at > 0);
    assert_int_equal(try_join("e", "Bob", &member), STORE_OK);
    assert_null(find_room("a"));
    later(MINUTE);
    assert_false(world.store->behind);
    check_crash();
}

static void the_sum_of_a_record_is_crc_32(void **state)
{
    unsigned char bytes[40];
    size_t i, length;
    int bit;

    (void)state;
    assert_int_equal(crc(world.store, (const unsigned char *)"123456789", 9), 0xCBF43926);
    for (i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 151 + 7);
    for (length = 0; length <= sizeof bytes; length++) { /* as ISO 3309 has it, a bit at a time */
        uint32_t sum = 0xFFFFFFFFU;
        for (i = 0; i < length; i++) {
            sum ^= bytes[i];
            for (bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (sum & 1 ? 0xEDB88320U : 0);
        }
        assert_int_equal(crc(world.store, bytes, length), ~sum);
    }
}

static void a_lost_file_s_messages_wait_for_the_new_one_s_name(void **state)
{
    struct store_member *ann;
    uint64_t mark;

    (void)state;
    stop();
    world.options.sync = STORE_SYNC_ALWAYS;
    start();
    ann = join("tea", "Ann");
    later(SECOND);
    syncer.is_slow = 1;
    say(ann, "hi");
    mark = store_mark(world.store);
    (void)tick();
    break_disk(CALL_FSYNC, EIO, 1);
    assert_int_equal(answer_sync(), SYNC_FILE);
    assert_int_equal(try_join("tea", "Bob", &ann), STORE_FULL);
    later(LOST_MS);
    (void)tick();
    assert_int_equal(answer_sync(), SYNC_NEW);
    assert_true(world.store->rewrite.fd < 0); /* it is renamed, */
    assert_false(store_lasts(world.store, mark)); /* but a power cut could still bring the old one back */
    assert_int_equal(find_room("tea")->ring.shown, find_room("tea")->ring.tail);
    (void)tick();
    assert_int_equal(answer_sync(), SYNC_FOLDER);
    assert_true(store_lasts(world.store, mark));
    assert_int_equal(find_room("tea")->ring.shown, find_room("tea")->ring.head);
}

static void a_stop_does_not_trust_a_file_whose_fsync_went_on(void **state)
{
    struct stat begun, named;

    (void)state;
    say(join("tea", "Ann"), "hi");
    later(SECOND);
    syncer.is_slow = 1;
    store_rewrite(world.store, world.now);
    while (!world.store->rewrite.is_syncing) (void)tick();
    assert_int_equal(link(beside(".new"), beside(".begun")), 0); /* so that its number is not given again */
    stop(); /* the child's answer is not read: it may have failed, and the next fsync succeeds */
    assert_int_equal(stat(beside(".begun"), &begun), 0);
    assert_int_equal(stat(world.path, &named), 0);
    assert_true(begun.st_ino != named.st_ino);
    start();
    assert_non_null(who("tea", "Ann"));
}

static void a_round_that_the_child_did_not_answer_counts_as_failed(void **state)
{
    struct store_member *ann;
    uint64_t mark;

    (void)state;
    stop();
    world.options.sync = STORE_SYNC_ALWAYS;
    start();
    ann = join("tea", "Ann");
    later(SECOND);
    syncer.is_slow = 1;
    say(ann, "hi");
    mark = store_mark(world.store);
    (void)tick();
    kill_child(); /* its fsync may have failed, and then the next one succeeds */
    store_synced(world.store, world.now);
    assert_int_equal(store_sync_fd(world.store), -1);
    assert_false(store_lasts(world.store, mark));
    assert_non_null(strstr(world.told, "process for fsync has ended"));
    later(LOST_MS);
    assert_true(store_lasts(world.store, mark));
    say(ann, "this goes on");
    (void)tick();
    assert_true(store_lasts(world.store, store_mark(world.store)));
    check_crash();
}

static void the_longest_records_fit(void **state)
{
    struct store_member *ann = join("" SIXTY "abcd", SIXTY "abcd");
    struct store_room *room = ann->room;
    struct store *store = world.store;
    size_t i, size = store->batch.size;

    (void)state;
    for (i = 0; i < NONCES_MAX; i++) add_nonce(ann, UINT64_MAX - i, NUMBER_END - 1, (int64_t)NUMBER_END - 1);
    ann->by = room->next_by = room->next_id = ann->said = room->speakers = NUMBER_END - 1;
    ann->absent_ms = room->deserted_ms = (int64_t)NUMBER_END - 1 - world.now.mono_ms;
    ann->absent_since_ms = room->deserted_since_ms = 0;
    room->last_t = (int64_t)NUMBER_END - 1;
    store->batch.length = 0;
    put_member_record(&store->batch, ann, store_called(ann), world.now);
    assert_in_range(store->batch.length, 600, MEMBER_RECORD_MAX);
    store->batch.length = 0;
    put_room_record(&store->batch, room, world.now);
    assert_in_range(store->batch.length, 150, ROOM_RECORD_MAX);
    store_rewrite(store, world.now);
    store->rewrite.phase = MEMBERS;
    store->batch.length = 0;
    store->batch.size = MEMBER_RECORD_MAX; /* the numbers have no place behind: they come next */
    copy_members(store, room, world.now);
    assert_true(store->rewrite.room == 0 && store->batch.length > 600);
    store->batch.length = 0;
    copy_members(store, room, world.now);
    assert_true(store->rewrite.room == 1 && store->batch.length < ROOM_RECORD_MAX);
    store->batch.size = size;
}

static void a_file_that_cannot_be_synced_is_written_anew(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct stat before, after;

    (void)state;
    say(ann, "hi");
    stat(world.path, &before);
    break_disk(CALL_FSYNC, EIO, 1);
    later(2 * SECOND);
    stat(world.path, &after);
    assert_true(before.st_ino != after.st_ino);
    assert_non_null(strstr(world.told, "could not be synced"));
    check_crash();
}

static void the_file_is_written_anew_when_it_has_grown_to_twice_what_is_held(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct stat status;
    int64_t most = 0;
    int i;

    (void)state;
    for (i = 0; i < 400; i++) {
        say(ann, long_text("", "x", 3000));
        later(10);
        stat(world.path, &status);
        if (status.st_size > most) most = status.st_size;
    }
    assert_in_range(most, REWRITE_MIN - 4000, REWRITE_MIN);
    assert_true(status.st_size < most);
    assert_int_equal(status.st_mode & 0777, 0600);
    check_crash();
}

/* Whatever call fails, at whatever time: what was acknowledged is there after a kill, and nothing else. */
static void whatever_fails_nothing_acknowledged_is_lost(void **state)
{
    static const int errors[] = {ENOSPC, EIO, 0};
    long k;
    uint64_t seed;
    size_t act, i;

    (void)state;
    stop();
    options_like(4, 2000, 6);
    world.options.hold_ms = 10 * SECOND;
    for (k = 0; k < 240; k++) {
        long misses = k % 3 == 0 ? 1 : 5;
        remove(world.path);
        heal();
        start();
        seed = (uint64_t)k / 4;
        for (act = 0; act < 60; act++) {
            struct store_member *member = chance_member(&seed), *other;
            struct store_receipt receipt;
            char name[8];
            if (act == 20) store_rewrite(world.store, world.now);
            if (act == 10) break_disk(CALL_ANY, errors[k % 3], misses), fault.after = k / 2 % 60;
            snprintf(name, sizeof name, "N%u", (unsigned)random_below(&seed, 9));
            i = random_below(&seed, 8);
            if (member == NULL || i < 2) (void)try_join(i ? "tea" : "milk", name, &other);
            else if (i < 5)
                (void)try_say(member, long_text("", "x", 1 + random_below(&seed, 4000)), 1 + random_below(&seed, 30),
                              &receipt);
            else if (i == 5) (void)rename_to(member, name);
            else if (i == 6 && fault.after + fault.times == 0) store_leave(member, world.now);
            else later(600);
            check_store(world.store);
            if (world.store->torn == 0 && act % 3 == 0) {
                int kinds_then = fault.kinds;
                fault.kinds = 0;
                check_crash();
                fault.kinds = kinds_then;
            }
        }
        heal();
        later(20 * SECOND);
        say(join("last", "Ann"), "a write cuts what is torn");
        check_crash();
        stop();
    }
}

/* ---- who waits for an fsync ---- */

static int begin_as(void **state, enum store_sync sync)
{
    begin_empty(state);
    world.options.sync = sync;
    start();
    syncer.is_slow = 1;
    return 0;
}

static int begin_always(void **state) { return begin_as(state, STORE_SYNC_ALWAYS); }

static int begin_exit(void **state) { return begin_as(state, STORE_SYNC_EXIT); }

/* Says TEXT: how far must last what is written before it is answered. */
static uint64_t say_for_mark(struct store_member *member, const char *text)
{
    struct store_receipt receipt;

    assert_int_equal(try_say(member, text, 0, &receipt), STORE_OK);
    return receipt.mark;
}

/* The child does the round that goes on, if any, then what is due for it is begun. Returns the round done. */
static int round_over(void)
{
    int round = answer_sync();

    (void)tick();
    return round;
}

/* All that is due is done by the child. */
static void all_synced(void)
{
    (void)tick();
    while (round_over() != 0) continue;
}

static int lasts(uint64_t mark) { return store_lasts(world.store, mark); }

static void one_fsync_is_for_all_who_came_before_it(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("milk", "Bob");
    struct reader *tea = follow(ann), *milk = follow(bob);
    uint64_t first, second, third, late;

    (void)state;
    all_synced();
    pass_over(tea);
    pass_over(milk);
    fault.syncs = 0;
    world.synced = 0;
    first = say_for_mark(ann, "first");
    (void)tick();
    second = say_for_mark(bob, "second");
    third = say_for_mark(ann, "third");
    assert_false(lasts(first));
    expect_nothing(tea);
    assert_int_equal(round_over(), SYNC_FILE);
    assert_true(lasts(first));
    assert_false(lasts(second) || lasts(third));
    expect_next(tea, "first");
    expect_nothing(tea);
    expect_nothing(milk);
    late = say_for_mark(bob, "late");
    assert_int_equal(round_over(), SYNC_FILE);
    assert_true(lasts(second) && lasts(third));
    assert_false(lasts(late));
    expect_next(milk, "second");
    expect_next(tea, "third");
    expect_nothing(milk);
    assert_int_equal(round_over(), SYNC_FILE);
    assert_true(lasts(late));
    expect_next(milk, "late");
    assert_int_equal(round_over(), 0);
    assert_int_equal(fault.syncs, 3);
    assert_int_equal(world.synced, 3);
    check_crash();
}

static void what_is_not_shown_is_nowhere_to_be_seen(void **state)
{
    static unsigned char scratch[STORE_FRAME_MAX];
    struct store_member *ann = join("tea", "Ann");
    struct store_cursor poll, back;
    struct store_message message;
    struct reader *late;
    char list[STORE_LIST_MAX + 1], wanted[64], *array;
    size_t pieces;
    uint64_t id;

    (void)state;
    id = say(ann, "shown");
    snprintf(wanted, sizeof wanted, "\"last\":%lld}", (long long)world.now.wall_ms);
    all_synced();
    assert_false(store_select(&poll, ann, after_id(id)));
    world.now.wall_ms += 5;
    say(ann, "waits");
    array = array_after(ann, from_start, &pieces);
    assert_non_null(strstr(array, "shown"));
    assert_null(strstr(array, "waits"));
    free(array);
    store_look_back(&back, ann);
    assert_true(store_previous(&back, scratch, &message) && message.id == id);
    assert_false(store_reselect(&poll));
    list[store_list(world.store, list)] = '\0';
    assert_non_null(strstr(list, wanted));
    late = follow_after(ann, after_id(id + 1)); /* nobody can have seen it */
    expect_gap(late, id - 1, id);
    expect_next(late, "shown");
    expect_nothing(late);
    all_synced();
    assert_true(store_reselect(&poll));
    expect_next(late, "waits");
    list[store_list(world.store, list)] = '\0';
    assert_null(strstr(list, wanted));
}

static void a_repeated_nonce_waits_with_its_message(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct store_receipt first, again, other;

    (void)state;
    assert_int_equal(try_say(ann, "shown", 1, &other), STORE_OK);
    all_synced();
    assert_int_equal(try_say(ann, "waits", 2, &first), STORE_OK);
    (void)tick();
    assert_int_equal(try_say(ann, "waits", 2, &again), STORE_OK);
    assert_true(again.id == first.id && !lasts(again.mark));
    assert_int_equal(try_say(ann, "shown", 1, &again), STORE_OK);
    assert_true(again.id == other.id && lasts(again.mark));
    (void)round_over();
    assert_int_equal(try_say(ann, "waits", 2, &again), STORE_OK);
    assert_true(again.id == first.id && lasts(again.mark));
}

static void a_ring_full_of_what_nobody_has_seen_takes_no_more(void **state)
{
    struct store_member *ann = join("tea", "Ann"), *bob = join("milk", "Bob");
    struct reader *reader = follow(ann);
    struct store_receipt receipt;
    enum store_result result;
    size_t length, now_length;
    char *bytes;
    int count = 0, i;

    (void)state;
    for (i = 0; i < 10; i++) { /* what is shown makes room */
        say(ann, long_text("", "x", 3000));
        all_synced();
    }
    pass_over(reader);
    do result = try_say(ann, long_text("", "x", 3000), 7 + (uint64_t)count, &receipt);
    while (result == STORE_OK && ++count < 10);
    assert_int_equal(result, STORE_BEHIND);
    assert_in_range(count, 2, 6);
    free(read_whole(world.path, &length));
    assert_int_equal(try_say(ann, long_text("", "x", 3000), 7 + (uint64_t)count, &receipt), STORE_BEHIND);
    bytes = read_whole(world.path, &now_length);
    free(bytes);
    assert_int_equal(now_length, length);
    say(bob, "another room has its own");
    check_store(world.store);
    check_crash();
    all_synced();
    for (i = 0; i < count; i++) expect_next(reader, long_text("", "x", 3000));
    say_once(ann, "now", 7 + (uint64_t)count);
    all_synced();
    expect_next(reader, "now");
    expect_nothing(reader);
}

/* An fsync fails in each kind of round, with `always` and with `second`: what waits and what is done about it. */
static void a_failed_fsync_of_file_or_folder_loses_the_file_one_of_a_new_file_does_not(void **state)
{
    static const struct {
        int round, failing; /* the fsync in the round, from 0 */
        int is_lost;
    } rows[] = {
        {SYNC_FILE, 0, 1},
        {SYNC_FILE | SYNC_NEW, 0, 1},
        {SYNC_FILE | SYNC_NEW, 1, 0},
        {SYNC_FILE | SYNC_FOLDER, 0, 1},
        {SYNC_FILE | SYNC_FOLDER, 1, 1},
    };
    struct store_member *ann = join("tea", "Ann"), *other;
    struct reader *reader = follow(ann);
    struct store_receipt receipt;
    struct stat before, after;
    size_t i;

    (void)state;
    for (i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        const size_t row = i / 2;
        int is_always = i % 2 == 0;
        unfollow(reader);
        stop();
        world.options.sync = is_always ? STORE_SYNC_ALWAYS : STORE_SYNC_SECOND;
        start();
        reader = follow(ann = who("tea", "Ann"));
        all_synced();
        world.now.mono_ms += MINUTE; /* the last loss is long ago */
        if (rows[row].round & (SYNC_NEW | SYNC_FOLDER)) {
            store_rewrite(world.store, world.now);
            while (!is_whole(world.store)) step_rewrite(world.store, world.now);
            if (rows[row].round & SYNC_FOLDER) {
                begin_round(world.store, world.now);
                (void)answer_sync();
            }
        }
        pass_over(reader);
        say(ann, "hi");
        if (!is_always) world.now.mono_ms += SYNC_MS;
        (void)tick();
        stat(world.path, &before);
        world.told[0] = '\0';
        break_disk(CALL_FSYNC, EIO, 1);
        fault.after = rows[row].failing;
        assert_int_equal(answer_sync(), rows[row].round);
        heal();
        assert_int_equal(strstr(world.told, "could not be synced") != NULL, rows[row].is_lost);
        if (!is_always || !rows[row].is_lost) expect_next(reader, "hi");
        else expect_nothing(reader);
        if (is_always && rows[row].is_lost && !(rows[row].round & SYNC_NEW)) {
            assert_int_equal(try_say(ann, "new", 0, &receipt), STORE_FULL);
            assert_int_equal(errno, EIO);
            assert_int_equal(try_join("tea", "New", &other), STORE_FULL);
            assert_int_equal(rename_to(ann, "Anna"), STORE_FULL);
        } else {
            say(ann, "new"); /* a whole new file has taken its place, or nothing was promised */
            if (!is_always) expect_next(reader, "new");
        }
        syncer.is_slow = 0;
        later(rows[row].is_lost ? LOST_MS : RETRY_MS);
        syncer.is_slow = 1;
        stat(world.path, &after);
        assert_true(before.st_ino != after.st_ino);
        if (is_always && rows[row].is_lost) expect_next(reader, "hi");
        assert_int_equal(world.store->lost, 0);
        assert_false(world.store->behind);
        say(ann, "on");
        all_synced();
        check_crash();
    }
}

static void a_new_file_that_fails_too_is_tried_until_it_lasts(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct store_receipt receipt;
    struct reader *reader = follow(ann);
    uint64_t mark;

    (void)state;
    all_synced();
    syncer.is_slow = 0;
    mark = say_for_mark(ann, "held");
    pass_over(reader);
    break_disk(CALL_FSYNC, EIO, 1000);
    later(MINUTE);
    assert_false(lasts(mark));
    expect_nothing(reader);
    assert_int_equal(try_say(ann, "new", 5, &receipt), STORE_FULL);
    heal();
    world.told[0] = '\0';
    later(RETRY_MS);
    assert_true(lasts(mark));
    expect_next(reader, "held");
    assert_non_null(strstr(world.told, "can be written again"));
    say_once(ann, "new", 5);
    (void)tick();
    expect_next(reader, "new");
    check_crash();
}

static void a_folder_that_cannot_be_synced_does_not_wear_the_disk_out(void **state)
{
    size_t rewrites = 0;
    struct stat before, after;
    const char *line;
    int i;

    (void)state;
    say(join("tea", "Ann"), "hi");
    all_synced();
    syncer.is_slow = 0;
    store_rewrite(world.store, world.now);
    stat(world.path, &before);
    for (i = 0; i < 600; i++) {
        break_disk(CALL_FSYNC, EIO, 1);
        fault.after = 1; /* the first of each turn is the new file's */
        later(100);
        stat(world.path, &after);
        rewrites += before.st_ino != after.st_ino;
        before = after;
    }
    assert_in_range(rewrites, 3, 8);
    line = strstr(world.told, "could not be synced");
    assert_non_null(line);
    assert_null(strstr(line + 1, "could not be synced"));
}

/* What is taken is synced, as well as can be, also while no new file can be had. */
static void a_lost_file_that_cannot_be_written_anew_is_still_synced(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    int i;

    (void)state;
    say(ann, "lost");
    break_disk(CALL_FSYNC, EIO, 1);
    later(SECOND);
    assert_int_equal(world.store->lost, EIO);
    break_disk(CALL_RENAME, ENOSPC, 1000000);
    for (i = 0; i < 30; i++) {
        fault.syncs = 0;
        say(ann, "taken");
        later(2 * SECOND);
        assert_int_not_equal(world.store->lost, 0);
        assert_int_equal(world.store->unsynced_ms, -1);
        assert_true(fault.syncs > 0);
    }
    for (i = 0; i < 14 && world.store->lost != 0; i++) { /* and where that fails it puts no rewrite off */
        break_disk(CALL_FSYNC, EIO, i < 2 ? 1000 : 1);
        say(ann, "taken");
        later(SECOND);
    }
    heal();
    assert_int_equal(world.store->lost, 0);
    check_crash();
}

static void a_damaged_exit_file_is_kept_beside_once(void **state)
{
    int i;

    (void)state;
    world.options.sync = STORE_SYNC_SECOND;
    make_sample();
    world.options.sync = STORE_SYNC_EXIT;
    sample.bytes[20] ^= 1;
    write_whole(world.path, sample.bytes, sample.length);
    for (i = 0; i < 3; i++) { /* it is written anew by the stop alone */
        start();
        if (i < 2) kill_store();
    }
    stop();
    assert_true(exists(beside(".damaged-1")));
    assert_false(exists(beside(".damaged-2")));
    free(sample.bytes);
}

static void who_leaves_does_not_put_a_rewrite_off(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    char name[16];
    uint64_t mark;
    int i;

    (void)state;
    for (i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "N%d", i);
        join("tea", name);
    }
    all_synced();
    mark = say_for_mark(ann, "held");
    (void)tick();
    break_disk(CALL_FSYNC, EIO, 1);
    assert_int_equal(answer_sync(), SYNC_FILE);
    heal();
    syncer.is_slow = 0;
    for (i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "N%d", i);
        store_leave(who("tea", name), world.now);
        later(LOST_MS / 5);
    }
    assert_true(lasts(mark));
    check_crash();
}

static void who_leaves_while_a_new_file_is_synced_has_left_for_good(void **state)
{
    (void)state;
    say(join("tea", "Ann"), "hi");
    later(2 * SECOND);
    syncer.is_slow = 1;
    store_rewrite(world.store, world.now);
    (void)tick();
    break_disk(CALL_WRITE, ENOSPC, 1); /* of the file: the new one takes it */
    store_leave(who("tea", "Ann"), world.now);
    heal();
    assert_int_equal(round_over(), SYNC_NEW);
    assert_false(world.store->behind);
    assert_int_equal(round_over(), SYNC_FILE | SYNC_FOLDER); /* it came behind the new file's fsync */
    check_crash();
}

static void while_a_rewrite_goes_on_both_files_are_waited_for(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct reader *reader = follow(ann);
    uint64_t before, meanwhile;

    (void)state;
    all_synced();
    pass_over(reader);
    store_rewrite(world.store, world.now);
    before = say_for_mark(ann, "before");
    (void)tick();
    meanwhile = say_for_mark(ann, "meanwhile");
    assert_false(lasts(before));
    assert_int_equal(round_over(), SYNC_FILE | SYNC_NEW);
    assert_true(lasts(before));
    assert_false(lasts(meanwhile)); /* the new file has it since its fsync began */
    expect_next(reader, "before");
    expect_nothing(reader);
    assert_true(world.store->rewrite.fd < 0);
    check_crash();
    assert_int_equal(round_over(), SYNC_FILE | SYNC_FOLDER);
    assert_true(lasts(meanwhile));
    expect_next(reader, "meanwhile");
    assert_int_equal(round_over(), 0);
}

/* A room with COUNT messages of 4,000 bytes, and all that is synced. */
static struct store_member *fill_large_room(size_t count)
{
    struct store_member *ann;
    char text[STORE_TEXT_MAX + 1];

    stop();
    options_like(4, 32 << 20, 8);
    start();
    ann = join("tea", "Ann");
    memset(text, 'x', STORE_TEXT_MAX);
    text[STORE_TEXT_MAX] = '\0';
    while (count-- > 0) say(ann, text);
    later(2 * SECOND);
    syncer.is_slow = 1;
    return ann;
}

/* The rewrite goes on until it is in a round, or by as much as it may. */
static void go_on(void)
{
    int left = 10 * REWRITE_SYNC / REWRITE_SLICE;

    do assert_true(left-- > 0);
    while (tick() == 0);
}

static void a_long_rewrite_is_synced_as_it_goes(void **state)
{
    struct store_member *ann = fill_large_room(4 * REWRITE_SYNC / STORE_TEXT_MAX);
    struct rewrite *rewrite = &world.store->rewrite;
    size_t rounds = 0, held;

    (void)state;
    store_rewrite(world.store, world.now);
    (void)tick();
    say(ann, "hi");
    world.now.mono_ms += SYNC_MS;
    (void)tick();
    assert_int_equal(answer_sync(), SYNC_FILE);
    assert_int_equal(rewrite->unsynced, rewrite->size); /* that was not for it */
    for (; !is_whole(world.store); rounds++) {
        go_on();
        assert_true(rewrite->is_syncing);
        if (!is_whole(world.store)) { /* the first part, and another while the child is at it, but no more */
            assert_in_range(rewrite->size, (rounds + 2) * REWRITE_SYNC, (rounds + 3) * REWRITE_SYNC - 1);
        }
        if (rounds == 0) say(ann, "this goes on");
        assert_int_equal(answer_sync() & SYNC_NEW, SYNC_NEW);
    }
    assert_in_range(rounds, 2, 4);
    assert_true(rewrite->fd >= 0); /* its last part is not synced */
    go_on();
    assert_int_equal(answer_sync(), SYNC_NEW);
    assert_true(rewrite->fd < 0);
    held = find_room("tea")->ring.head - find_room("tea")->ring.tail;
    kill_store();
    start();
    assert_int_equal(find_room("tea")->ring.head - find_room("tea")->ring.tail, held);
    fault.syncs = 0;
    stop();
    assert_in_range(fault.syncs, 1, 2); /* nobody waits now: all at once */
    start();
    assert_int_equal(find_room("tea")->ring.head - find_room("tea")->ring.tail, held);
}

static void a_long_rewrite_does_not_outlast_a_failed_sync(void **state)
{
    struct rewrite *rewrite;
    struct stat failed, named;

    (void)state;
    (void)fill_large_room(2 * REWRITE_SYNC / STORE_TEXT_MAX);
    rewrite = &world.store->rewrite;
    store_rewrite(world.store, world.now);
    go_on();
    assert_int_equal(link(beside(".new"), beside(".failed")), 0); /* so that its number is not given again */
    break_disk(CALL_FSYNC, EIO, 1);
    assert_int_equal(answer_sync(), SYNC_NEW);
    assert_true(rewrite->fd < 0);
    assert_non_null(strstr(world.told, "can't be written anew"));
    syncer.is_slow = 0;
    later(11 * SECOND);
    assert_non_null(strstr(world.told, "is written anew again"));
    assert_int_equal(stat(beside(".failed"), &failed), 0);
    assert_int_equal(stat(world.path, &named), 0);
    assert_true(failed.st_ino != named.st_ino);
}

/* The child's calls, a letter each: it writes them into a pipe. */
static int letters_fd, files_opened;

static void note_letter(char letter) { assert_int_equal(write(letters_fd, &letter, 1), 1); }

static int letter_open(const char *path, int flags, mode_t mode)
{
    (void)flags;
    (void)mode;
    note_letter(strcmp(path, world.path) == 0 ? 'F' : strstr(path, ".new") != NULL ? 'N' : 'D');
    return 1000 + files_opened++;
}

static int letter_fsync(int fd)
{
    note_letter('s');
    return fd >= 1000 ? 0 : -1;
}

static int letter_close(int fd)
{
    note_letter((char)('0' + fd - 1000));
    return 0;
}

static ssize_t letter_write(int fd, const void *bytes, size_t size)
{
    note_letter('!');
    return write(fd, bytes, size);
}

static void the_child_closes_a_replaced_file_last(void **state)
{
    static const unsigned char rounds[] = {SYNC_FILE, SYNC_NEW, SYNC_FOLDER, SYNC_FILE};
    int asks[2], answers[2], letters[2], status;
    char text[64] = "";
    pid_t child;

    (void)state;
    assert_true(pipe(asks) == 0 && pipe(answers) == 0 && pipe(letters) == 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(asks[1]);
        letters_fd = letters[1];
        disk.open = letter_open;
        disk.fsync = letter_fsync;
        disk.close = letter_close;
        disk.write = letter_write;
        serve_syncs(world.store, asks[0], answers[1]);
    }
    assert_int_equal(write(asks[1], rounds, sizeof rounds), sizeof rounds);
    close_pipe(asks);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(read(letters[0], text, sizeof text - 1) > 0);
    assert_string_equal(text, "Fs0!" "Ns1F!" "Ds3!2" "Fs4!"); /* the old file's 2 comes behind the folder's answer */
    close_pipe(answers);
    close_pipe(letters);
}

static void a_room_made_while_the_new_file_is_synced_is_in_it(void **state)
{
    struct store_member *bob;

    (void)state;
    join("tea", "Ann");
    all_synced();
    store_rewrite(world.store, world.now);
    (void)tick();
    bob = join("milk", "Bob");
    say(bob, "hi");
    (void)round_over();
    assert_true(world.store->rewrite.fd >= 0); /* it is not whole any more */
    all_synced();
    assert_true(world.store->rewrite.fd < 0);
    check_crash();
}

static void the_loop_syncs_where_there_is_no_child(void **state)
{
    struct store_member *ann;
    uint64_t mark;
    int round;

    (void)state;
    for (round = 0; round < 2; round++) {
        stop();
        syncer.is_refused = round == 1;
        world.told[0] = '\0';
        start();
        assert_int_equal(strstr(world.told, "there can't be a process for fsync") != NULL, round == 1);
        if (round == 0) { /* it is killed while it has nothing to do */
            kill_child();
            store_synced(world.store, world.now);
            assert_non_null(strstr(world.told, "process for fsync has ended"));
        }
        assert_int_equal(store_sync_fd(world.store), -1);
        ann = round == 0 ? join("tea", "Ann") : who("tea", "Ann");
        mark = say_for_mark(ann, "hi");
        assert_false(lasts(mark));
        fault.syncs = 0;
        (void)tick();
        assert_true(lasts(mark));
        assert_int_equal(fault.syncs, 1);
        store_rewrite(world.store, world.now);
        later(SECOND);
        assert_true(world.store->rewrite.fd < 0);
        syncer.is_refused = 0;
        check_crash();
    }
}

static void a_child_that_is_killed_at_a_new_file_leaves_the_old_one(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    struct stat before, after;

    (void)state;
    all_synced();
    store_rewrite(world.store, world.now);
    (void)tick();
    stat(world.path, &before);
    kill_child();
    store_synced(world.store, world.now);
    stat(world.path, &after);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_true(world.store->rewrite.fd < 0);
    say(ann, "this goes on");
    later(RETRY_MS);
    stat(world.path, &after);
    assert_true(before.st_ino != after.st_ino);
    check_crash();
}

static void a_stop_does_again_what_the_child_was_at(void **state)
{
    struct store_member *ann = join("tea", "Ann");

    (void)state;
    all_synced();
    say(ann, "hi");
    (void)tick();
    fault.syncs = 0;
    stop(); /* nobody has read the child's answer */
    assert_int_equal(fault.syncs, 3); /* the old file too: the new one may fail */
    start();
    assert_int_equal(who("tea", "Ann")->said, 1);
}

/* With STORE_SYNC_EXIT nothing touches the file before it is told to. */
static void an_exit_file_is_written_when_told_to_and_not_before(void **state)
{
    enum { TOUCH = CALL_WRITE | CALL_FTRUNCATE | CALL_FSYNC | CALL_RENAME | CALL_LINK };
    size_t length;
    char *bytes;
    int round;

    (void)state;
    for (round = 0; round < 2; round++) {
        struct store_member *ann = round == 0 ? join("tea", "Ann") : who("tea", "Ann"), *bob = join("tea", "Bob");
        struct reader *reader = follow(ann);
        char *before = read_whole(world.path, &length);
        size_t now_length;
        uint64_t said;
        syncer.is_slow = 0;
        break_disk(TOUCH, EIO, 0); /* counts them */
        fault.calls = 0;
        pass_over(reader);
        say_once(ann, "hi", 1 + (uint64_t)round);
        expect_next(reader, "hi");
        assert_true(lasts(store_mark(world.store)));
        rename_to(bob, "Rob");
        store_leave(bob, world.now);
        flood(ann);
        said = ann->said;
        later(3 * HOUR);
        assert_int_equal(fault.calls, 0);
        bytes = read_whole(world.path, &now_length);
        assert_int_equal(now_length, length);
        assert_memory_equal(bytes, before, length);
        unfollow(reader);
        if (round == 0) {
            store_rewrite(world.store, world.now);
            later(SECOND);
            heal();
            check_crash();
            kill_store();
        } else {
            stop();
            heal();
        }
        start();
        assert_int_equal(who("tea", "Ann")->said, said);
        assert_null(who("tea", "Rob"));
        free(bytes);
        free(before);
    }
    say(who("tea", "Ann"), "lost by the kill");
    kill_store();
    start();
    bytes = dump_store(world.store, 0);
    assert_null(strstr(bytes, "lost by the kill"));
    free(bytes);
}

static void an_exit_file_that_could_not_be_written_is_tried_again(void **state)
{
    (void)state;
    say(join("tea", "Ann"), "hi");
    syncer.is_slow = 0;
    break_disk(CALL_FSYNC, EIO, 1);
    store_rewrite(world.store, world.now);
    later(SECOND);
    assert_non_null(strstr(world.told, "can't be written anew"));
    later(RETRY_MS);
    assert_non_null(strstr(world.told, "is written anew again"));
    check_crash();
}

/* ---- power cuts ---- */

/* What a start finds of FILE after a power cut. */
static struct store *open_after_cut(const struct platter_file *file)
{
    struct store *store;

    write_whole(beside(".copy"), file->bytes != NULL ? file->bytes : "", file->length);
    store = open_at(beside(".copy"));
    if (store == NULL) fail_msg("%s", world.reason);
    return store;
}

static struct store_room *same_room(struct store *store, const struct store_room *room)
{
    struct store_name name;

    memcpy(name.bytes, room->name, name.length = room->name_length);
    return store_find(store, &name);
}

/* What somebody was told: a message (its id) or a member (its number), when MARK lasts. */
struct told {
    const struct store_room *room;
    uint64_t id, by, mark;
};

/* After a power cut now all that was shown or answered is there, whether the last rename came to the disk or not. */
static void check_power_cut(const struct told *told, size_t count)
{
    const struct platter_file *files[2] = {platter.named, platter_file_at(world.path)};
    struct syncer_play of_store = syncer;
    int kinds_then = fault.kinds;
    size_t i, j;

    fault.kinds = platter.is_on = 0;
    for (i = 0; i < 2; i++) {
        struct store *store = open_after_cut(files[i]);
        const struct store_room *room;
        for (room = world.store->rooms; room < world.store->rooms + world.store->rooms_used; room++) {
            const struct store_room *again = same_room(store, room);
            uint64_t at;
            for (at = room->ring.tail; at < room->ring.shown; at = frame_end(&room->ring, at)) {
                assert_non_null(again);
                assert_true(frame_after(&again->ring, frame_id(&room->ring, at) - 1) < again->ring.head);
                assert_int_equal(frame_id(&again->ring, frame_after(&again->ring, frame_id(&room->ring, at) - 1)),
                                 frame_id(&room->ring, at));
            }
        }
        for (j = 0; j < count; j++) {
            if (!lasts(told[j].mark)) continue;
            if (told[j].id != 0) assert_true(is_shown(told[j].room, told[j].id));
            else assert_non_null(find_by(same_room(store, told[j].room), told[j].by));
        }
        free_store(store);
        syncer = of_store;
    }
    fault.kinds = kinds_then;
    platter.is_on = 1;
}

static void whatever_a_power_cut_takes_it_was_neither_shown_nor_answered(void **state)
{
    static struct told told[64];
    uint64_t seed, lost = 0, shown = 0;
    size_t count, act;
    unsigned k;

    (void)state;
    stop();
    options_like(3, 200000, 32);
    world.options.sync = STORE_SYNC_ALWAYS;
    for (k = 0; k < 120; k++) {
        remove(world.path);
        platter.is_on = 1;
        start();
        seed = k;
        count = 0;
        for (act = 0; act < 60; act++) {
            struct store_member *member = chance_member(&seed), *other;
            struct store_receipt receipt;
            char name[8];
            snprintf(name, sizeof name, "N%u", (unsigned)act);
            switch (random_below(&seed, 10)) {
            case 0:
            case 1:
                if (try_join(random_below(&seed, 2) ? "tea" : "milk", name, &other) != STORE_OK) break;
                told[count++] = (struct told){other->room, 0, other->by, store_mark(world.store)};
                break;
            case 2:
            case 3:
            case 4:
                if (member == NULL || try_say(member, "hi", 0, &receipt) != STORE_OK) break;
                told[count++] = (struct told){member->room, receipt.id, 0, receipt.mark};
                break;
            case 5: (void)store_tick(world.store, world.now); break;
            case 6: (void)answer_sync(); break;
            case 7:
                if (random_below(&seed, 3) == 0) store_rewrite(world.store, world.now);
                break;
            case 8:
                break_disk(CALL_FSYNC, EIO, k % 2), fault.after = (long)random_below(&seed, 3);
                if (k % 16 == 1 && act == 40) kill_child(), store_synced(world.store, world.now);
                break;
            default: world.now.mono_ms += (int64_t)random_below(&seed, 2) * LOST_MS; break;
            }
            lost += world.store->lost != 0;
            check_power_cut(told, count);
        }
        heal();
        syncer.is_slow = 0;
        later(2 * RETRY_MS);
        check_power_cut(told, count);
        for (act = 0; act < count; act++) assert_true(lasts(told[act].mark));
        shown += count;
        syncer.is_slow = 1;
        kill_store();
        wipe_platter();
    }
    assert_true(lost > 100 && shown > 1000);
}

/* ---- what a start refuses ---- */

static void a_second_server_on_the_same_file_is_refused(void **state)
{
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        struct store *store = open_at(world.path);
        _exit(store == NULL && strstr(world.reason, "is used by another snug") != NULL ? 42 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void what_cannot_be_a_data_file_is_refused_with_a_sentence(void **state)
{
    char path[160], other[160];
    struct stat status;

    (void)state;
    assert_null(open_at(""));
    assert_null(open_at("/tmp/no/such/folder/file"));
    assert_non_null(strstr(world.reason, "/tmp/no/such/folder/file can't be made"));
    snprintf(path, sizeof path, "%s/folder", world.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(open_at(path));
    assert_non_null(strstr(world.reason, "is no regular file"));
    snprintf(path, sizeof path, "%s/", world.folder);
    assert_null(open_at(path));
    assert_non_null(strstr(world.reason, "is no regular file"));
    snprintf(path, sizeof path, "%s/nothing/", world.folder);
    assert_null(open_at(path));
    snprintf(path, sizeof path, "%s/pipe", world.folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(open_at(path));
    assert_non_null(strstr(world.reason, "is no regular file"));
    break_disk(CALL_OPEN, EACCES, 1);
    assert_null(open_at(world.path));
    assert_non_null(strstr(world.reason, ".lock can't be made"));
    break_disk(CALL_OPEN, EACCES, 1);
    fault.after = 1;
    assert_null(open_at(world.path));
    assert_non_null(strstr(world.reason, "can't be opened for writing"));
    break_disk(CALL_READ, EIO, 1);
    assert_null(open_at(world.path));
    assert_non_null(strstr(world.reason, "can't be read"));
    heal();
    say(join("tea", "Ann"), "hi");
    stop();
    break_disk(CALL_READ, EINTR, 1);
    snprintf(path, sizeof path, "%s/link", world.folder); /* a link is followed, not replaced */
    assert_int_equal(symlink(world.path, path), 0);
    chmod(world.path, 0644);
    world.store = open_at(path);
    assert_string_equal(store_path(world.store), world.path);
    assert_non_null(who("tea", "Ann"));
    assert_int_equal(stat(world.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    stop();
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    assert_int_equal(stat(world.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_non_null(getcwd(other, sizeof other));
    assert_int_equal(chdir(world.folder), 0);
    world.store = open_at("here");
    assert_int_equal(chdir(other), 0);
    snprintf(path, sizeof path, "%s/here", world.folder);
    assert_string_equal(store_path(world.store), path);
}

static void a_file_that_holds_more_than_there_may_be_is_refused(void **state)
{
    (void)state;
    join("a", "Ann");
    join("a", "Bob");
    join("a", "Cat");
    join("b", "Ann");
    stop();
    options_like(1, STORE_HISTORY_MIN, 3);
    assert_null(open_at(world.path));
    assert_non_null(strstr(world.reason, "holds more than 1 rooms"));
    options_like(2, STORE_HISTORY_MIN, 2);
    assert_null(open_at(world.path));
    assert_non_null(strstr(world.reason, "holds more than 2 names"));
    options_like(2, STORE_HISTORY_MIN, 3);
    start();
    assert_int_equal(find_room("a")->count, 3);
}

static void a_smaller_history_keeps_the_newest(void **state)
{
    struct store_member *ann = join("tea", "Ann");
    uint64_t last = 0;
    int i;

    (void)state;
    stop();
    options_like(4, 100000, 8);
    start();
    ann = join("coffee", "Ann");
    for (i = 0; i < 30; i++) last = say(ann, long_text("", "x", 3000));
    stop();
    options_like(4, STORE_HISTORY_MIN, 8);
    start();
    assert_int_equal(find_room("coffee")->last_t, 1700000000000);
    assert_true(find_room("coffee")->ring.head - find_room("coffee")->ring.tail >= STORE_HISTORY_MIN);
    assert_int_equal(frame_id(&find_room("coffee")->ring,
                              frame_start(&find_room("coffee")->ring, find_room("coffee")->ring.head - 1)),
                     last);
    check_store(world.store);
}

static void a_record_with_a_right_sum_is_still_judged(void **state)
{
#define K64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FRAME(id, t, by, name, text)                                                                                   \
    "id: " id "\ndata: {\"id\":" id ",\"t\":" t ",\"by\":" by ",\"name\":\"" name "\",\"text\":\"" text "\"}\n\n"
    static const struct {
        const char *why, *kind, *body;
        int is_fine;
    } rows[] = {
        {"a room", ":room ", "7 7 0 0 0 milk\n\n", 1},
        {"no id", ":room ", "0 7 0 0 0 milk\n\n", 0},
        {"no by", ":room ", "7 0 0 0 0 milk\n\n", 0},
        {"an id at the end", ":room ", "9007199254740991 7 0 0 0 milk\n\n", 0},
        {"a by at the end", ":room ", "7 9007199254740991 0 0 0 milk\n\n", 0},
        {"a time over the end", ":room ", "7 7 9007199254740992 0 0 milk\n\n", 0},
        {"a huge number", ":room ", "99999999999999999999999999 7 0 0 0 milk\n\n", 0},
        {"a sign", ":room ", "-7 7 0 0 0 milk\n\n", 0},
        {"a blank more", ":room ", "7  7 0 0 0 milk\n\n", 0},
        {"a field less", ":room ", "7 7 0 0 milk\n\n", 0},
        {"an upper-case room", ":room ", "7 7 0 0 0 Milk\n\n", 0},
        {"a room with a slash", ":room ", "7 7 0 0 0 mi/lk\n\n", 0},
        {"a room of blanks", ":room ", "7 7 0 0 0  \n\n", 0},
        {"a line more", ":room ", "7 7 0 0 0 milk\nx\n\n", 0},
        {"no name", ":room ", "7 7 0 0 0 \n\n", 0},
        {"nothing", ":room ", "\n\n", 0},
        {"a control character", ":end ", "te\001a\n\n", 0},
        {"a member", ":member ", "7 0 0 " K64 " - milk/Ann\n\n", 1},
        {"with nonces", ":member ", "7 0 0 " K64 " 0123456789abcdef@1@1,0123456789abcdef@1@1 milk/Ann\n\n", 1},
        {"by 0", ":member ", "0 0 0 " K64 " - milk/Ann\n\n", 0},
        {"a short key", ":member ", "7 0 0 0123 - milk/Ann\n\n", 0},
        {"an upper-case key", ":member ",
         "7 0 0 A123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef - milk/Ann\n\n", 0},
        {"a name with blanks", ":member ", "7 0 0 " K64 " - milk/ Ann\n\n", 0},
        {"a long name", ":member ", "7 0 0 " K64 " - milk/" SIXTY "abcde\n\n", 0},
        {"no room", ":member ", "7 0 0 " K64 " - Ann\n\n", 0},
        {"nine nonces", ":member ",
         "7 0 0 " K64 " 0123456789abcdef@1@1,0123456789abcdef@1@1,0123456789abcdef@1@1,0123456789abcdef@1@1,"
         "0123456789abcdef@1@1,0123456789abcdef@1@1,0123456789abcdef@1@1,0123456789abcdef@1@1,0123456789abcdef@1@1 "
         "milk/Ann\n\n",
         0},
        {"half a nonce", ":member ", "7 0 0 " K64 " 0123456789abcdef@1 milk/Ann\n\n", 0},
        {"a comma too much", ":member ", "7 0 0 " K64 " 0123456789abcdef@1@1, milk/Ann\n\n", 0},
        {"a message", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "a\\n\\t\\\"\\\\b"), 1},
        {"in a room with an older one", ":message ", "- tea\n" FRAME("4503599627370496", "1", "1", "Ann", "x"), 1},
        {"not going up", ":message ", "- tea\n" FRAME("1", "1", "1", "Ann", "x"), 0},
        {"two ids", ":message ", "- milk\nid: 7\ndata: {\"id\":8,\"t\":1,\"by\":1,\"name\":\"Ann\",\"text\":\"x\"}\n\n",
         0},
        {"id 0", ":message ", "- milk\n" FRAME("0", "1", "1", "Ann", "x"), 0},
        {"by 0 says", ":message ", "- milk\n" FRAME("7", "1", "0", "Ann", "x"), 0},
        {"a leading 0", ":message ", "- milk\n" FRAME("07", "1", "1", "Ann", "x"), 0},
        {"a bad nonce", ":message ", "zzzzzzzzzzzzzzzz milk\n" FRAME("7", "1", "1", "Ann", "x"), 0},
        {"no text", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", ""), 0},
        {"an odd escape", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "\\u0041"), 0},
        {"a raw tab", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "a\tb"), 0},
        {"a raw CR", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "a\\r"), 0},
        {"a CR before a newline", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "a\r\\nb"), 0},
        {"no UTF-8", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "a\377"), 0},
        {"a name that is none", ":message ", "- milk\n" FRAME("7", "1", "1", " ", "x"), 0},
        {"a name not canonical", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann ", "x"), 0},
        {"a name too long", ":message ", "- milk\n" FRAME("7", "1", "1", SIXTY SIXTY, "x"), 0},
        {"more in the object", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "x\",\"y\":\"z"), 0},
        {"an escaped end", ":message ", "- milk\n" FRAME("7", "1", "1", "Ann", "x\\"), 0},
        {"half a frame", ":message ", "- milk\nid: 7\n\n", 0},
        {"no frame", ":message ", "- milk\n\n", 0},
        {"gone", ":gone ", "9 milk\n\n", 1},
        {"gone, but who", ":gone ", "milk\n\n", 0},
        {"absent", ":absent ", "5 1=2,3=4 milk\n\n", 1},
        {"absent, nobody", ":absent ", "5  milk\n\n", 1},
        {"absent, half a pair", ":absent ", "5 1=2,3 milk\n\n", 0},
        {"absent, no pair", ":absent ", "5 x milk\n\n", 0},
        {"absent, a comma too much", ":absent ", "5 1=2, milk\n\n", 1},
        {"absent, a comma alone", ":absent ", "5 , milk\n\n", 0},
        {"the end of no room", ":end ", "milk\n\n", 1},
        {"the end of nothing", ":end ", "\n\n", 0},
        {"an unknown kind", ":other ", "milk\n\n", 0},
    };
    static unsigned char bytes[20000];
    struct out out = {bytes, sizeof bytes, 0};
    struct store_member *ann = join("tea", "Ann");
    size_t i, sum_at, length;
    char *whole, *wanted, *found;
    int kept;

    (void)state;
    say(ann, "hi");
    whole = read_whole(world.path, &length);
    put_bytes(&out, whole, length);
    put_bytes(&out, whole, (size_t)(strstr(whole, "\n\n") + 2 - whole));
    wanted = dump_of(bytes, out.length, &kept);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        out.length = 0;
        put_bytes(&out, whole, length);
        sum_at = begin_record(&out, rows[i].kind);
        put(&out, rows[i].body);
        end_record(world.store, &out, sum_at);
        put_bytes(&out, whole, (size_t)(strstr(whole, "\n\n") + 2 - whole)); /* tea's room again */
        found = dump_of(bytes, out.length, &kept);
        if (kept == rows[i].is_fine) fail_msg("%s: %s", rows[i].why, world.told);
        if (!rows[i].is_fine) check_same(found, wanted);
        free(found);
    }
    free(whole);
    free(wanted);
}

static void what_a_record_says_of_a_member_is_taken(void **state)
{
    static unsigned char bytes[4000];
    struct out out = {bytes, sizeof bytes, 0};
    struct store_member *ann;
    static const char *const bodies[] = {"7 3 50 " K64 " 00000000000000aa@1@2 tea/Ann\n\n",
                                         "5 0 60 " K64 " - tea/Bob\n\n",
                                         "7 4 70 " K64 " 00000000000000ab@3@4 tea/bob\n\n"};
    size_t i, sum_at;

    (void)state;
    for (i = 0; i < 3; i++) { /* out of order, and then under the other's name, who must be gone */
        sum_at = begin_record(&out, ":member ");
        put(&out, bodies[i]);
        end_record(world.store, &out, sum_at);
    }
    sum_at = begin_record(&out, ":message "); /* of a member who is no more: his number is not given again */
    put(&out, "- tea\n" FRAME("9", "1", "1099511627776", "Eve", "x"));
    end_record(world.store, &out, sum_at);
    stop();
    write_whole(world.path, bytes, out.length);
    start();
    assert_int_equal(find_room("tea")->count, 1);
    ann = who("tea", "Bob");
    assert_true(ann->by == 7 && ann->said == 4 && absence(ann, world.now) == 70);
    assert_true(ann->nonces[0].digest == 0xab && ann->nonces[1].digest == 0 && ann->nonce_next == 1);
    assert_in_range(find_room("tea")->next_by, (1ULL << 40) + MOVE_MIN, (1ULL << 40) + MOVE_MAX + 1);
    check_store(world.store);
}

/* Numbers so high are moved on no more: what the file shows of them is all that keeps them from being given again. */
static void no_number_that_a_file_shows_is_given_again(void **state)
{
    static const struct {
        const char *kind, *body;
    } rows[] = {{":member ", "4503599627370501 0 0 " K64 " - tea/Ann\n\n"},
                {":message ", "- tea\n" FRAME("4503599627370501", "1", "4503599627370501", "Eve", "x")}};
    static unsigned char bytes[4000];
    const uint64_t shown = 4503599627370501;
    size_t i;

    (void)state;
    for (i = 0; i < 2; i++) {
        struct out out = {bytes, sizeof bytes, 0};
        size_t sum_at = begin_record(&out, rows[i].kind);
        put(&out, rows[i].body);
        end_record(world.store, &out, sum_at);
        stop();
        write_whole(world.path, bytes, out.length);
        start();
        assert_int_equal(find_room("tea")->next_by, shown + 1);
        if (i == 1) assert_int_equal(find_room("tea")->next_id, shown + 1);
        assert_int_equal(store_by(join("tea", "Bob")), shown + 1);
    }
}

/* ---- memory ---- */

static void memory_is_counted_before_it_is_taken(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 3, 64, 1000, 65535};
    struct store_options options = world.options;
    struct store store;
    size_t i, j, sum,
        huge[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 2 + 2, SIZE_MAX / 16, SIZE_MAX - STORE_FRAME_MAX + 1};

    (void)state;
    for (i = 1; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (j = 2; j < sizeof sizes / sizeof sizes[0]; j++) {
            options.rooms = sizes[i];
            options.members = sizes[j];
            options.history = 1000 * i;
            sum = store_memory(&options);
            if (sizeof sum < 8 && sum == SIZE_MAX) continue; /* too much for 32 bits */
            assert_true(sum >=
                        sizeof store + sizes[i] * (sizeof(struct store_room) + sizes[j] * sizeof(struct store_member) +
                                                   options.history + STORE_FRAME_MAX));
            assert_int_equal(lay_out(&store, &options, NULL) + sizeof store, sum);
            assert_int_equal(sum % sizeof(void *), 0);
        }
    }
    for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        options = world.options;
        options.rooms = huge[i];
        assert_int_equal(store_memory(&options), SIZE_MAX);
        options = world.options;
        options.history = huge[i];
        if (huge[i] > SIZE_MAX / 8) assert_int_equal(store_memory(&options), SIZE_MAX);
    }
    options = world.options;
    options.rooms = SIZE_MAX / sizeof(struct store_room) / 4;
    options.history = SIZE_MAX / 16;
    assert_int_equal(store_memory(&options), SIZE_MAX);
    world.options.rooms = SIZE_MAX / 2;
    assert_null(open_at(world.path));
    assert_non_null(strstr(world.reason, "not enough memory"));
}

/* All that is used lies in the block, and nothing lies over another. */
static void the_block_is_as_long_as_counted(void **state)
{
    struct store *store = world.store;
    unsigned char *base = (unsigned char *)store->rooms;
    size_t size = store_memory(&store->options) - sizeof *store, rooms = store->options.rooms;

    (void)state;
    assert_true((unsigned char *)(store->rooms + rooms) <= (unsigned char *)store->room_buckets);
    assert_true((unsigned char *)(store->room_buckets + store->room_bucket_count) <=
                (unsigned char *)store->all_members);
    assert_true((unsigned char *)(store->all_members + rooms * store->options.members) <=
                (unsigned char *)store->all_buckets);
    assert_true((unsigned char *)(store->all_buckets + rooms * 2 * store->member_bucket_count) <= store->all_states);
    assert_true(store->all_states + rooms * (store->people_size + TYPING_SIZE) <= store->batch.bytes);
    assert_true(store->batch.bytes + BATCH_SIZE <= store->all_rings);
    assert_true(store->all_rings + rooms * store->ring_size <= base + size);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        {"UTF-8 is read strictly", utf8_is_read_strictly, begin, end, NULL},
        {"every character is written as it is read", every_character_is_written_as_it_is_read, begin, end, NULL},
        {"names are compared in lower case", names_are_compared_in_lower_case, begin, end, NULL},
        {"names are kept as the design says", names_are_kept_as_the_design_says, begin, end, NULL},
        {"a name as JSON is quoted", a_name_as_json_is_quoted, begin, end, NULL},
        {"texts are kept but for carriage returns", texts_are_kept_but_for_carriage_returns, begin, end, NULL},
        {"a text has 4000 bytes at most", a_text_has_4000_bytes_at_most, begin, end, NULL},
        {"the ring keeps the newest frames whole", the_ring_keeps_the_newest_frames_whole, begin, end, NULL},
        {"a stream opens with who i am who is here and what was said",
         a_stream_opens_with_who_i_am_who_is_here_and_what_was_said, begin, end, NULL},
        {"a message is one frame", a_message_is_one_frame, begin, end, NULL},
        {"time never goes back in a room", time_never_goes_back_in_a_room, begin, end, NULL},
        {"a gap is told when something is missing", a_gap_is_told_when_something_is_missing, begin, end, NULL},
        {"a stream is the same a byte at a time", a_stream_is_the_same_a_byte_at_a_time, begin, end, NULL},
        {"a slow reader is told what it missed", a_slow_reader_is_told_what_it_missed, begin, end, NULL},
        {"what is taken late is still right", what_is_taken_late_is_still_right, begin, end, NULL},
        {"a state does not wait behind a backlog", a_state_does_not_wait_behind_a_backlog, begin, end, NULL},
        {"who comes and goes is told once and never queued", who_comes_and_goes_is_told_once_and_never_queued, begin,
         end, NULL},
        {"four states a second go out at most", four_states_a_second_go_out_at_most, begin, end, NULL},
        {"fewer states go out to many readers", fewer_states_go_out_to_many_readers, begin, end, NULL},
        {"a reader inside a state holds up a new one for a second",
         a_reader_inside_a_state_holds_up_a_new_one_for_a_second, begin, end, NULL},
        {"a new name is told to its own streams", a_new_name_is_told_to_its_own_streams, begin, end, NULL},
        {"leaving ends all streams of the member", leaving_ends_all_streams_of_the_member, begin, end, NULL},
        {"typing shows for six seconds", typing_shows_for_six_seconds, begin, end, NULL},
        {"sixteen are shown typing at most", sixteen_are_shown_typing_at_most, begin, end, NULL},
        {"people are 256 at most and within 32 KiB", people_are_256_at_most_and_within_32_kib, begin, end, NULL},
        {"nothing is lost whatever happens", nothing_is_lost_whatever_happens, begin, end, NULL},
        {"messages are a JSON array", messages_are_a_json_array, begin, end, NULL},
        {"an array that is overtaken ends", an_array_that_is_overtaken_ends, begin, end, NULL},
        {"messages are read back the newest first", messages_are_read_back_the_newest_first, begin, end, NULL},
        {"a held request gets what is said next", a_held_request_gets_what_is_said_next, begin, end, NULL},
        {"a name is free again a day after its holder left", a_name_is_free_again_a_day_after_its_holder_left, begin,
         end, NULL},
        {"a name that never spoke is free after ten minutes", a_name_that_never_spoke_is_free_after_ten_minutes, begin,
         end, NULL},
        {"a member is here for 5 s after a stream and 90 s after a request",
         a_member_is_here_for_5_s_after_a_stream_and_90_s_after_a_request, begin, end, NULL},
        {"who comes later does not hide who goes sooner", who_comes_later_does_not_hide_who_goes_sooner, begin, end,
         NULL},
        {"absence is counted over restarts", absence_is_counted_over_restarts, begin, end, NULL},
        {"absence is kept hourly while anyone is here", absence_is_kept_hourly_while_anyone_is_here, begin, end, NULL},
        {"an empty house writes nothing", an_empty_house_writes_nothing, begin, end, NULL},
        {"many absences take several records", many_absences_take_several_records, begin, end, NULL},
        {"in a full room who said least gives way", in_a_full_room_who_said_least_gives_way, begin, end, NULL},
        {"a number is never given twice", a_number_is_never_given_twice, begin, end, NULL},
        {"a token opens its own name alone", a_token_opens_its_own_name_alone, begin, end, NULL},
        {"a name can be changed to one that is free", a_name_can_be_changed_to_one_that_is_free, begin, end, NULL},
        {"a room without names and messages gives way at once", a_room_without_names_and_messages_gives_way_at_once,
         begin, end, NULL},
        {"a room where one spoke gives way after ten minutes", a_room_where_one_spoke_gives_way_after_ten_minutes,
         begin, end, NULL},
        {"any deserted room gives way after thirty days", any_deserted_room_gives_way_after_thirty_days, begin, end,
         NULL},
        {"readers of a room that gave way do not hear the next", readers_of_a_room_that_gave_way_do_not_hear_the_next,
         begin, end, NULL},
        {"rooms are listed the latest first", rooms_are_listed_the_latest_first, begin, end, NULL},
        {"a bucket gives what it promises", a_bucket_gives_what_it_promises, begin, end, NULL},
        {"a member and an address say so much and no more", a_member_and_an_address_say_so_much_and_no_more, begin, end,
         NULL},
        {"a retry says nothing twice", a_retry_says_nothing_twice, begin, end, NULL},
        {"a start finds all that was", a_start_finds_all_that_was, begin, end, NULL},
        {"a rewrite misses nothing that happens meanwhile", a_rewrite_misses_nothing_that_happens_meanwhile, begin, end,
         NULL},
        {"the file reads as text", the_file_reads_as_text, begin, end, NULL},
        {"a torn end costs the torn record alone", a_torn_end_costs_the_torn_record_alone, begin, end, NULL},
        {"a message that a lost border hides is kept beside", a_message_that_a_lost_border_hides_is_kept_beside, begin,
         end, NULL},
        {"an end that never was a record is kept beside", an_end_that_never_was_a_record_is_kept_beside, begin, end,
         NULL},
        {"a damaged byte costs its record alone", a_damaged_byte_costs_its_record_alone, begin, end, NULL},
        {"damage is kept beside and mended for good", damage_is_kept_beside_and_mended_for_good, begin, end, NULL},
        {"damage that hid who gave way does not refuse the start",
         damage_that_hid_who_gave_way_does_not_refuse_the_start, begin, end, NULL},
        {"damage is told where it cannot be kept beside", damage_is_told_where_it_cannot_be_kept_beside, begin, end,
         NULL},
        {"rooms that come and go do not stop a rewrite", rooms_that_come_and_go_do_not_stop_a_rewrite, begin, end, NULL},
        {"a damaged file is copied beside where there are no links",
         a_damaged_file_is_copied_beside_where_there_are_no_links, begin, end, NULL},
        {"a damaged file is kept as it is until a new one is written",
         a_damaged_file_is_kept_as_it_is_until_a_new_one_is_written, begin, end, NULL},
        {"a new file is not cut where the damaged one was", a_new_file_is_not_cut_where_the_damaged_one_was, begin, end,
         NULL},
        {"much damage hides no record", much_damage_hides_no_record, begin, end, NULL},
        {"no text can pass for a record", no_text_can_pass_for_a_record, begin, end, NULL},
        {"a foreign file is refused and left untouched", a_foreign_file_is_refused_and_left_untouched, begin, end,
         NULL},
        {"zeros are a power cut's trace", zeros_are_a_power_cut_s_trace, begin, end, NULL},
        {"behind a hole the newcomer gives way", behind_a_hole_the_newcomer_gives_way, begin, end, NULL},
        {"a nonce whose message a hole took says it again", a_nonce_whose_message_a_hole_took_says_it_again, begin, end,
         NULL},
        {"a nonce whose message a hole took before all that is held says it again",
         a_nonce_whose_message_a_hole_took_before_all_that_is_held_says_it_again, begin, end, NULL},
        {"a nonce whose message gave way says nothing again behind a hole",
         a_nonce_whose_message_gave_way_says_nothing_again_behind_a_hole, begin, end, NULL},
        {"a record right behind zeros is kept", a_record_right_behind_zeros_is_kept, begin, end, NULL},
        {"much that never was a record is kept beside", much_that_never_was_a_record_is_kept_beside, begin, end, NULL},
        {"a lost file that cannot be written anew is still synced",
         a_lost_file_that_cannot_be_written_anew_is_still_synced, begin, end, NULL},
        {"a damaged exit file is kept beside once", a_damaged_exit_file_is_kept_beside_once, begin_exit, end, NULL},
        {"every start moves the numbers on", every_start_moves_the_numbers_on, begin, end, NULL},
        {"the moved numbers are synced before the start is over", the_moved_numbers_are_synced_before_the_start_is_over,
         begin, end, NULL},
        {"what is written is synced a second later at most", what_is_written_is_synced_a_second_later_at_most, begin,
         end, NULL},
        {"what cannot be written is refused and nothing changes", what_cannot_be_written_is_refused_and_nothing_changes,
         begin, end, NULL},
        {"who leaves on a full disk has left", who_leaves_on_a_full_disk_has_left, begin, end, NULL},
        {"a rewrite that fails leaves the old file and is tried again",
         a_rewrite_that_fails_leaves_the_old_file_and_is_tried_again, begin, end, NULL},
        {"a rewrite that cannot keep up is given up and nobody notices",
         a_rewrite_that_cannot_keep_up_is_given_up_and_nobody_notices, begin, end, NULL},
        {"a place without a room is no part of the file", a_place_without_a_room_is_no_part_of_the_file, begin, end,
         NULL},
        {"a room that gives way in the middle of a rewrite is gone",
         a_room_that_gives_way_in_the_middle_of_a_rewrite_is_gone, begin, end, NULL},
        {"the sum of a record is CRC-32", the_sum_of_a_record_is_crc_32, begin, end, NULL},
        {"the longest records fit", the_longest_records_fit, begin, end, NULL},
        {"a stop does not trust a file whose fsync went on", a_stop_does_not_trust_a_file_whose_fsync_went_on, begin,
         end, NULL},
        {"a lost file's messages wait for the new one's name", a_lost_file_s_messages_wait_for_the_new_one_s_name,
         begin, end, NULL},
        {"a round that the child did not answer counts as failed",
         a_round_that_the_child_did_not_answer_counts_as_failed, begin, end, NULL},
        {"a file that cannot be synced is written anew", a_file_that_cannot_be_synced_is_written_anew, begin, end,
         NULL},
        {"the file is written anew when it has grown to twice what is held",
         the_file_is_written_anew_when_it_has_grown_to_twice_what_is_held, begin, end, NULL},
        {"whatever fails nothing acknowledged is lost", whatever_fails_nothing_acknowledged_is_lost, begin, end, NULL},
        {"one fsync is for all who came before it", one_fsync_is_for_all_who_came_before_it, begin_always, end, NULL},
        {"what is not shown is nowhere to be seen", what_is_not_shown_is_nowhere_to_be_seen, begin_always, end, NULL},
        {"a repeated nonce waits with its message", a_repeated_nonce_waits_with_its_message, begin_always, end, NULL},
        {"a ring full of what nobody has seen takes no more",
         a_ring_full_of_what_nobody_has_seen_takes_no_more, begin_always, end, NULL},
        {"a failed fsync of file or folder loses the file one of a new file does not",
         a_failed_fsync_of_file_or_folder_loses_the_file_one_of_a_new_file_does_not, begin_always, end, NULL},
        {"a new file that fails too is tried until it lasts",
         a_new_file_that_fails_too_is_tried_until_it_lasts, begin_always, end, NULL},
        {"a folder that cannot be synced does not wear the disk out",
         a_folder_that_cannot_be_synced_does_not_wear_the_disk_out, begin, end, NULL},
        {"who leaves does not put a rewrite off", who_leaves_does_not_put_a_rewrite_off, begin_always, end, NULL},
        {"who leaves while a new file is synced has left for good",
         who_leaves_while_a_new_file_is_synced_has_left_for_good, begin, end, NULL},
        {"a long rewrite is synced as it goes", a_long_rewrite_is_synced_as_it_goes, begin, end, NULL},
        {"a long rewrite does not outlast a failed sync", a_long_rewrite_does_not_outlast_a_failed_sync, begin, end, NULL},
        {"the child closes a replaced file last", the_child_closes_a_replaced_file_last, begin, end, NULL},
        {"while a rewrite goes on both files are waited for",
         while_a_rewrite_goes_on_both_files_are_waited_for, begin_always, end, NULL},
        {"a room made while the new file is synced is in it",
         a_room_made_while_the_new_file_is_synced_is_in_it, begin_always, end, NULL},
        {"the loop syncs where there is no child", the_loop_syncs_where_there_is_no_child, begin_always, end, NULL},
        {"a child that is killed at a new file leaves the old one",
         a_child_that_is_killed_at_a_new_file_leaves_the_old_one, begin_always, end, NULL},
        {"a stop does again what the child was at", a_stop_does_again_what_the_child_was_at, begin_always, end, NULL},
        {"an exit file is written when told to and not before",
         an_exit_file_is_written_when_told_to_and_not_before, begin_exit, end, NULL},
        {"an exit file that could not be written is tried again",
         an_exit_file_that_could_not_be_written_is_tried_again, begin_exit, end, NULL},
        {"whatever a power cut takes it was neither shown nor answered",
         whatever_a_power_cut_takes_it_was_neither_shown_nor_answered, begin_always, end, NULL},
        {"a second server on the same file is refused", a_second_server_on_the_same_file_is_refused, begin, end, NULL},
        {"what cannot be a data file is refused with a sentence", what_cannot_be_a_data_file_is_refused_with_a_sentence,
         begin, end, NULL},
        {"a file that holds more than there may be is refused", a_file_that_holds_more_than_there_may_be_is_refused,
         begin, end, NULL},
        {"a smaller history keeps the newest", a_smaller_history_keeps_the_newest, begin, end, NULL},
        {"a record with a right sum is still judged", a_record_with_a_right_sum_is_still_judged, begin, end, NULL},
        {"what a record says of a member is taken", what_a_record_says_of_a_member_is_taken, begin, end, NULL},
        {"no number that a file shows is given again", no_number_that_a_file_shows_is_given_again, begin, end, NULL},
        {"memory is counted before it is taken", memory_is_counted_before_it_is_taken, begin, end, NULL},
        {"the block is as long as counted", the_block_is_as_long_as_counted, begin, end, NULL},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
