/* crash.c: what the data file promises, at every moment at which a crash can come.
 *
 * Random conversations run on a disk made of memory, which takes the place of the system's calls and keeps a trace of
 * them. Then, for every prefix of the trace, that disk is put together as a crash may leave it, a store is started on
 * it and compared with what the conversation's store held after each event (a start, a join, a rename, a leave, a
 * message):
 *
 *     kill -9      all that was done is there, the last write perhaps in part: it is as after the last event written
 *     power cut    what was fsynced is there; of the rest anything: nothing, all, a beginning, pieces with zeros
 *                  between them, a length without the bytes. Names change in their order, and last from the folder's
 *                  fsync on. A failed fsync settles what becomes of what was unsynced: no later one brings it back.
 *                  Then there is what every event from the last promised one to the last written one left there.
 *
 * Promised is, with `always`, what store_lasts or readers get; with `second` what the last round of fsyncs that went
 * well had, and a round begins a second after an event at most; with `exit` what the file was rewritten with.
 *
 * CRASH_RUNS: conversations of each mode; CRASH_SEED: the first one's number. */
#include "../store.c"

#include "unit.h"

#define SECOND 1000
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * (int64_t)HOUR)

#define RUNS 6        /* conversations of each mode, unless CRASH_RUNS says otherwise */
#define STEPS 90      /* of a conversation */
#define ROOMS 3       /* at most */
#define MEMBERS_OF 4  /* of a room at most */
#define INODES 96     /* of a volume, ever */
#define NAMES 12      /* FILE, FILE.new, FILE.damaged-1 and on */
#define OPS 4096      /* of a trace */
#define PENDING 512   /* of them unsynced, of a file or of the folder */
#define EVENTS 256    /* of a conversation */
#define FRAMES_HELD 512
#define BLOCK 512     /* bytes that a disk writes as a whole */
#define OFTEN 6       /* a power cut at each place so often, by chance */
#define NEVER ((size_t)-1)

static uint64_t chance;

static size_t below(size_t end) { return random_below(&chance, end); }

static int one_in(size_t end) { return below(end) == 0; }

/* ---- a volume, and the trace of what was done to it ---- */

struct content {
    unsigned char *bytes;
    size_t length, size;
};

/* What is added is zeros. */
static void set_length(struct content *content, size_t length)
{
    if (length > content->size) {
        content->size = 2 * length;
        content->bytes = realloc(content->bytes, content->size);
        assert_non_null(content->bytes);
    }
    if (length > content->length) memset(content->bytes + content->length, 0, length - content->length);
    content->length = length;
}

static void put_at(struct content *content, size_t at, const unsigned char *bytes, size_t length)
{
    if (at + length > content->length) set_length(content, at + length);
    if (length > 0) memcpy(content->bytes + at, bytes, length);
}

static void copy_content(struct content *to, const struct content *from)
{
    to->length = 0;
    put_at(to, 0, from->bytes, from->length);
}

enum { FILE_NAME, NEW_NAME, DAMAGED_NAME };

struct op {
    enum { CREATE, WRITE, CUT, FSYNC, FSYNC_FAILED, FSYNC_FOLDER, RENAME, LINK, UNLINK } kind;
    int inode;
    int from, to;      /* names, -1: none */
    size_t at, length; /* of a write; CUT: to `at` */
    size_t data;       /* where a write's bytes begin in volume->data */
};

/* A folder, and what was done in it. */
struct volume {
    struct content inodes[INODES];
    int inode_count;
    int names[NAMES]; /* inodes, -1: no such name */
    struct op ops[OPS];
    size_t op_count;
    struct content data;
};

static void empty_volume(struct volume *volume)
{
    int i;

    for (i = 0; i < INODES; i++) volume->inodes[i].length = 0;
    for (i = 0; i < NAMES; i++) volume->names[i] = -1;
    volume->inode_count = 0;
    volume->op_count = volume->data.length = 0;
}

static int add_inode(struct volume *volume)
{
    assert_true(volume->inode_count < INODES);
    return volume->inode_count++;
}

static struct op *add_op(struct volume *volume, int kind, int inode)
{
    struct op *op = &volume->ops[volume->op_count++];

    assert_true(volume->op_count < OPS);
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->inode = inode;
    op->from = op->to = -1;
    return op;
}

static void change_names(int names[NAMES], const struct op *op)
{
    if (op->from >= 0) names[op->from] = -1;
    if (op->to >= 0) names[op->to] = op->inode;
}

/* Does an operation on names, FROM or TO -1: none. */
static void name_op(struct volume *volume, int kind, int inode, int from, int to)
{
    struct op *op = add_op(volume, kind, inode);

    op->from = from;
    op->to = to;
    change_names(volume->names, op);
}

static void apply(struct content *content, const struct volume *volume, const struct op *op)
{
    if (op->kind == WRITE) put_at(content, op->at, volume->data.bytes + op->data, op->length);
    else set_length(content, op->at);
}

/* ---- the machine: the system's calls on a volume, with faults, and the child that fsyncs ---- */

enum { HANDLES = 16, HANDLE = 1 << 20, ASK_FD = 1 << 19, ASKED_FD, ANSWERING_FD, CHILD = 4711, FOLDER = -1 };

enum { FAIL_WRITE = 1, FAIL_CUT = 2, FAIL_FILE = 4, FAIL_NEW = 8, FAIL_FOLDER = 16, FAIL_RENAME = 32, FAIL_OPEN = 64,
       FAIL_COPY = 128 };

static struct machine {
    char folder[64], path[96];
    int real_fd; /* of an empty file: for what fcntl() must take */
    struct volume *volume;
    struct { int is_used, inode; size_t at; } handles[HANDLES];
    int faults;      /* kinds of calls that fail, */
    int fault_times; /* so often */
    struct {
        int is_refused, is_alive;
        int round, left; /* what is asked of it, and what it has not done yet: it does a target when the test lets it */
        int is_done;     /* its answer lies in the pipe */
        int errors[SYNC_TARGETS];
        size_t asked_events;
    } child;
    int is_child;        /* it is the child that calls */
    int is_killed;       /* the child has no time for what it was asked */
    uint64_t padding;    /* added to the size of a rewrite: it writes one batch a turn */
    size_t file_write;   /* the last whole write to FILE: its place in the trace */
    size_t least[INODES], most[INODES]; /* events that a rewrite wrote to its file, for sure and perhaps */
} machine;

/* The run's conversation as the machine sees it. */
static struct store *running;
static size_t event_count;

static int fails(int kind)
{
    if (!(machine.faults & kind) || machine.fault_times == 0) return 0;
    machine.fault_times--;
    errno = kind & (FAIL_WRITE | FAIL_COPY | FAIL_OPEN) ? ENOSPC : EIO;
    return 1;
}

static int name_of(const char *path)
{
    const char *suffix = path + strlen(machine.path);
    int name;

    assert_int_equal(strncmp(path, machine.path, strlen(machine.path)), 0);
    if (*suffix == '\0') return FILE_NAME;
    if (strcmp(suffix, ".new") == 0) return NEW_NAME;
    assert_int_equal(strncmp(suffix, ".damaged-", 9), 0);
    name = DAMAGED_NAME - 1 + atoi(suffix + 9);
    assert_true(name < NAMES);
    return name;
}

static int play_open(const char *path, int flags, mode_t mode)
{
    struct volume *volume = machine.volume;
    int i, name, inode = FOLDER;

    (void)mode;
    if (strcmp(path + strlen(path) - 5, ".lock") == 0) return machine.real_fd;
    if (strcmp(path, machine.folder) != 0) {
        name = name_of(path);
        inode = volume->names[name];
        errno = inode < 0 ? ENOENT : EEXIST;
        if (inode < 0 ? !(flags & O_CREAT) : flags & O_EXCL) return -1;
        if (inode < 0 && name == NEW_NAME && fails(FAIL_OPEN)) return -1;
        if (inode < 0) name_op(volume, CREATE, inode = add_inode(volume), -1, name);
    }
    for (i = 0; machine.handles[i].is_used; i++) assert_true(i + 1 < HANDLES);
    machine.handles[i].is_used = 1;
    machine.handles[i].inode = inode;
    machine.handles[i].at = 0;
    return HANDLE + i;
}

static ssize_t read_answer_of_child(int errors[SYNC_TARGETS])
{
    if (machine.child.is_done) {
        machine.child.is_done = machine.child.round = 0;
        memcpy(errors, machine.child.errors, sizeof machine.child.errors);
        return (ssize_t)sizeof machine.child.errors;
    }
    errno = EAGAIN;
    return machine.child.is_alive ? -1 : 0;
}

static ssize_t play_read(int fd, void *bytes, size_t size)
{
    const struct content *content;
    size_t *at;

    if (fd == machine.real_fd) return read_answer_of_child(bytes);
    at = &machine.handles[fd - HANDLE].at;
    content = &machine.volume->inodes[machine.handles[fd - HANDLE].inode];
    if (size > content->length - *at) size = content->length - *at;
    if (size > 0) memcpy(bytes, content->bytes + *at, size);
    *at += size;
    return (ssize_t)size;
}

static ssize_t ask_child(int round)
{
    errno = EPIPE;
    if (!machine.child.is_alive) return -1;
    assert_int_equal(machine.child.round, 0);
    machine.child.round = machine.child.left = round;
    machine.child.asked_events = event_count;
    memset(machine.child.errors, 0, sizeof machine.child.errors);
    return 1;
}

/* Writes at the end, as O_APPEND does. */
static void append_op(int inode, const unsigned char *bytes, size_t length)
{
    struct volume *volume = machine.volume;
    struct op *op = add_op(volume, WRITE, inode);

    op->at = volume->inodes[inode].length;
    op->length = length;
    op->data = volume->data.length;
    put_at(&volume->data, op->data, bytes, length);
    put_at(&volume->inodes[inode], op->at, bytes, length);
}

/* A full disk takes a piece of the first record: one that takes more has ended whom a join would have ended, since
 * their time was over, and that is no loss to look for. */
static ssize_t write_piece(int inode, const unsigned char *bytes, size_t size)
{
    size_t first = record_length(bytes, size), part = one_in(3) || first == 0 ? 0 : below(first);

    if (part > 0) append_op(inode, bytes, part);
    errno = ENOSPC;
    return part > 0 && one_in(2) ? (ssize_t)part : -1;
}

static ssize_t play_write(int fd, const void *bytes, size_t size)
{
    int inode, is_new;

    if (fd == ASKED_FD) return ask_child(*(const unsigned char *)bytes);
    inode = machine.handles[fd - HANDLE].inode;
    is_new = inode == machine.volume->names[NEW_NAME];
    if (fails(FAIL_WRITE) || (is_new && fails(FAIL_COPY))) return write_piece(inode, bytes, size);
    append_op(inode, bytes, size);
    if (inode == machine.volume->names[FILE_NAME]) machine.file_write = machine.volume->op_count - 1;
    if (is_new && running != NULL && machine.child.is_alive) {
        running->rewrite.size += REWRITE_SLICE;
        running->rewrite.unsynced += REWRITE_SYNC / 3; /* three turns, and it is synced */
        machine.padding += REWRITE_SLICE;
    }
    return (ssize_t)size;
}

static int play_ftruncate(int fd, off_t length)
{
    int inode = machine.handles[fd - HANDLE].inode;
    struct op *op;

    if (fails(FAIL_CUT)) return -1;
    op = add_op(machine.volume, CUT, inode);
    op->at = (size_t)length;
    apply(&machine.volume->inodes[inode], machine.volume, op);
    return 0;
}

static int play_fsync(int fd)
{
    int inode = machine.handles[fd - HANDLE].inode, is_file = inode == machine.volume->names[FILE_NAME];

    if (fails(inode == FOLDER ? FAIL_FOLDER : is_file ? FAIL_FILE : FAIL_NEW)) {
        if (inode != FOLDER) (void)add_op(machine.volume, FSYNC_FAILED, inode);
        return -1;
    }
    if (inode != FOLDER && !is_file) machine.least[inode] = machine.is_child ? machine.child.asked_events : event_count;
    (void)add_op(machine.volume, inode == FOLDER ? FSYNC_FOLDER : FSYNC, inode);
    return 0;
}

static int play_rename(const char *from, const char *to)
{
    int inode = machine.volume->names[name_of(from)];

    errno = ENOENT;
    if (inode < 0 || fails(FAIL_RENAME)) return -1;
    machine.most[inode] = event_count;
    name_op(machine.volume, RENAME, inode, name_of(from), name_of(to));
    return 0;
}

static int play_link(const char *from, const char *to)
{
    errno = EEXIST;
    if (machine.volume->names[name_of(to)] >= 0) return -1;
    name_op(machine.volume, LINK, machine.volume->names[name_of(from)], -1, name_of(to));
    return 0;
}

static int play_unlink(const char *path)
{
    int name = name_of(path);

    errno = ENOENT;
    if (machine.volume->names[name] < 0) return -1;
    name_op(machine.volume, UNLINK, machine.volume->names[name], name, -1);
    return 0;
}

static int play_close(int fd)
{
    if (fd >= HANDLE) machine.handles[fd - HANDLE].is_used = 0;
    return 0;
}

/* Asks go through the first pipe, answers through the second. */
static int play_pipe(int fds[2])
{
    static int count;
    int is_first = count++ % 2 == 0;

    fds[0] = is_first ? ASK_FD : machine.real_fd;
    fds[1] = is_first ? ASKED_FD : ANSWERING_FD;
    return 0;
}

static pid_t play_fork(void)
{
    errno = EAGAIN;
    if (machine.child.is_refused) return -1;
    machine.child.is_alive = 1;
    return CHILD;
}

/* The child goes on by a target, or by all that are left. */
static void child_works(int all)
{
    int errors[SYNC_TARGETS], i, now = machine.child.left;

    if (now == 0) return;
    if (!all) now &= -now;
    machine.is_child = 1;
    sync_targets(running, now, errors);
    machine.is_child = 0;
    for (i = 0; i < SYNC_TARGETS; i++) machine.child.errors[i] |= errors[i];
    machine.child.left &= ~now;
    machine.child.is_done = machine.child.left == 0;
}

static void end_child(void)
{
    machine.child.is_alive = machine.child.is_done = machine.child.round = machine.child.left = 0;
}

/* The store lets the child end what it is at. */
static pid_t play_waitpid(pid_t pid, int *status, int options)
{
    (void)status;
    (void)options;
    if (!machine.is_killed) child_works(1);
    end_child();
    return pid;
}

/* ---- what a store holds ---- */

struct seen_member {
    uint64_t by, said;
    unsigned char key[STORE_KEY_SIZE];
    struct store_name name;
    struct nonce nonces[NONCES_MAX]; /* the oldest first */
};

struct seen_room {
    struct store_name name;
    size_t era; /* the event that made it: the same name may come again */
    uint64_t next_id, next_by, speakers, oldest, newest; /* ids held, 0: none */
    struct seen_member members[MEMBERS_OF];
    size_t count;
};

struct seen {
    struct seen_room rooms[ROOMS];
    size_t count;
};

static int is_same_name(const struct store_name *a, const struct store_name *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static const struct seen_room *seen_room(const struct seen *seen, const struct store_name *name)
{
    size_t i;

    for (i = 0; i < seen->count; i++) {
        if (is_same_name(&seen->rooms[i].name, name)) return &seen->rooms[i];
    }
    return NULL;
}

static const struct seen_member *seen_member(const struct seen_room *room, uint64_t by)
{
    size_t i;

    for (i = 0; room != NULL && i < room->count; i++) {
        if (room->members[i].by == by) return &room->members[i];
    }
    return NULL;
}

static const struct nonce *seen_nonce(const struct seen_member *member, uint64_t digest)
{
    size_t i;

    for (i = 0; i < NONCES_MAX; i++) {
        if (member->nonces[i].digest == digest) return &member->nonces[i];
    }
    return NULL;
}

static void see_member(const struct store_member *member, struct seen_member *seen)
{
    size_t i, count = 0;

    seen->by = member->by;
    seen->said = member->said;
    memcpy(seen->key, member->key, STORE_KEY_SIZE);
    seen->name.length = member->name_length;
    memcpy(seen->name.bytes, member->name, member->name_length);
    for (i = 0; i < NONCES_MAX; i++) {
        const struct nonce *nonce = &member->nonces[(member->nonce_next + i) % NONCES_MAX];
        if (nonce->digest != 0) seen->nonces[count++] = *nonce;
    }
}

static void see(const struct store *store, struct seen *seen)
{
    const struct store_room *room;
    const struct store_member *member;

    memset(seen, 0, sizeof *seen);
    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        struct seen_room *as = &seen->rooms[seen->count];
        const struct ring *ring = &room->ring;
        if (room->name_length == 0) continue;
        seen->count++;
        as->name.length = room->name_length;
        memcpy(as->name.bytes, room->name, room->name_length);
        as->next_id = room->next_id;
        as->next_by = room->next_by;
        as->speakers = room->speakers;
        as->oldest = ring->tail == ring->head ? 0 : frame_id(ring, ring->tail);
        as->newest = ring->tail == ring->head ? 0 : frame_id(ring, frame_start(ring, ring->head - 1));
        for (member = member_at(room, room->first); member != NULL; member = member_at(room, member->next)) {
            see_member(member, &as->members[as->count++]);
        }
    }
}

/* ---- what happened ---- */

struct event {
    size_t written; /* where in the trace it is written */
    uint64_t mark;
    int64_t ms;
    struct seen after;
};

struct message {
    struct store_name room;
    size_t event;
    uint64_t id, by, digest;
    int64_t t;
    unsigned char *frame;
    size_t length;
};

static const char *const mode_names[] = {"second", "always", "exit"};

/* A conversation. Event 0 is the empty disk. */
static struct run {
    enum store_sync mode;
    uint64_t number;
    struct store_options options;
    struct store_time now;
    struct event events[EVENTS + 1];
    struct message messages[EVENTS];
    size_t message_count;
    size_t promised;           /* events, */
    size_t promised_at[EVENTS + 1]; /* each when the trace was so long */
    int laziness;              /* of the child */
    int is_faulty;
    int haste;                 /* so many steps are taken in a turn */
    uint64_t keys, digests;
} run;

static struct volume main_volume, first_volume, second_volume;

static const struct seen *latest(void) { return &run.events[event_count].after; }

/* Promises the first EVENTS events. */
static void promise(size_t events)
{
    while (run.promised < events) run.promised_at[++run.promised] = machine.volume->op_count;
}

static size_t promised_before(size_t length)
{
    size_t events = run.promised;

    while (events > 0 && run.promised_at[events] > length) events--;
    return events;
}

/* How many events were written when the trace was LENGTH long. */
static size_t written_before(size_t length)
{
    size_t events = event_count;

    while (events > 0 && run.events[events].written >= length) events--;
    return events;
}

static void add_event(size_t written)
{
    struct event *event = &run.events[event_count + 1];
    const struct seen *before = latest();
    size_t i;

    assert_true(event_count < EVENTS);
    event_count++;
    event->written = written;
    event->mark = store_mark(running);
    event->ms = run.now.mono_ms;
    see(running, &event->after);
    for (i = 0; i < event->after.count; i++) {
        const struct seen_room *old = seen_room(before, &event->after.rooms[i].name);
        event->after.rooms[i].era = old != NULL ? old->era : event_count;
    }
}

/* An event of a call that began when the trace was BEFORE long. */
static void add_written_event(size_t before)
{
    if (run.mode != STORE_SYNC_EXIT) assert_true(machine.file_write != NEVER && machine.file_write >= before);
    add_event(run.mode == STORE_SYNC_EXIT ? before : machine.file_write);
}

/* To be called after every call of the store: what is promised now? */
static void after_call(void)
{
    const struct event *next = &run.events[run.promised + 1];
    size_t i;

    if (running->rewrite.fd >= 0) running->rewrite.size -= machine.padding;
    machine.padding = 0;
    if (run.mode == STORE_SYNC_EXIT) return;
    for (; run.promised < event_count; next++) {
        int lasts = next->mark <= running->synced_mark; /* with `second` there is no other word of it */
        if (run.mode == STORE_SYNC_ALWAYS) lasts = store_lasts(running, next->mark);
        if (!lasts) break;
        promise(run.promised + 1);
    }
    for (i = 0; i < run.message_count && run.mode == STORE_SYNC_ALWAYS; i++) {
        const struct message *message = &run.messages[i];
        const struct store_room *room = store_find(running, &message->room);
        if (message->event <= run.promised) continue;
        if (room != NULL && room->next_id > message->id && is_shown(room, message->id)) promise(message->event);
    }
}

static void take_answer(void)
{
    store_synced(running, run.now);
    after_call();
}

/* The batch is so small that a rewrite writes its members one by one. */
static void tick(void)
{
    const struct event *next = &run.events[run.promised + 1];
    int is_at_members = running->rewrite.fd >= 0 && running->rewrite.phase == MEMBERS;

    if (is_at_members && machine.child.is_alive) running->batch.size = MEMBER_RECORD_MAX + ROOM_RECORD_MAX;
    (void)store_tick(running, run.now);
    running->batch.size = RECORD_MAX + 2 * ROOM_RECORD_MAX + MEMBER_RECORD_MAX;
    after_call();
    if (run.mode == STORE_SYNC_EXIT || machine.child.round != 0 || running->lost != 0) return;
    if (running->is_renamed) return; /* the next turn syncs the folder */
    if (run.promised < event_count) assert_true(run.now.mono_ms - next->ms < SYNC_MS);
}

/* ---- a conversation ---- */

static void no_change(void *context, size_t room)
{
    (void)context;
    (void)room;
}

static void no_sync(void *context) { (void)context; }

static void no_word(void *context, const char *sentence)
{
    (void)context;
    (void)sentence;
}

static struct store_bytes bytes_of(const char *text)
{
    struct store_bytes bytes = {(const unsigned char *)text, strlen(text)};

    return bytes;
}

static struct store_name random_name(int is_room)
{
    static const char *const rooms[] = {"tea", "Garten", "x", "one room with a longer name", ".hidden"};
    static const char *const members[] = {"Ann", "ann", "Bob", "\xc3\x84rger", "\xc3\xa4rger", "\"Z\" O'H", "c"};
    struct store_name name;
    const char *reason;

    if (is_room) assert_int_equal(store_room_name(bytes_of(rooms[below(5)]), &name, &reason), STORE_OK);
    else assert_int_equal(store_member_name(bytes_of(members[below(7)]), &name, &reason), STORE_OK);
    return name;
}

/* NULL: the room drawn has nobody. */
static struct store_member *random_member(void)
{
    const struct seen_room *seen = latest()->count > 0 ? &latest()->rooms[below(latest()->count)] : NULL;

    if (seen == NULL || seen->count == 0) return NULL;
    return find_by(store_find(running, &seen->name), seen->members[below(seen->count)].by);
}

static void join_someone(void)
{
    struct store_name room = random_name(1), name = random_name(0);
    size_t before = machine.volume->op_count;
    unsigned char key[STORE_KEY_SIZE];
    struct store_member *member;

    memset(key, (int)(run.keys % 251), sizeof key);
    memcpy(key + 8, &run.keys, sizeof run.keys);
    run.keys++;
    if (store_join(running, &room, &name, key, run.now, &member) == STORE_OK) add_written_event(before);
    after_call();
}

static void rename_someone(void)
{
    struct store_name name = random_name(0);
    struct store_member *member = random_member();
    size_t before = machine.volume->op_count;

    if (member == NULL) return;
    if (store_called(member).length == name.length && memcmp(member->name, name.bytes, name.length) == 0) return;
    if (store_rename(member, &name, run.now) == STORE_OK) add_written_event(before);
    after_call();
}

/* A leave that can't be written takes effect all the same, and may be lost: that is no event. */
static void let_someone_leave(void)
{
    struct store_member *member = random_member();
    size_t before = machine.volume->op_count;

    if (member == NULL || machine.fault_times > 0 || why_shut(running) != 0) return;
    store_leave(member, run.now);
    add_written_event(before);
    after_call();
}

/* A text that tells which it is. */
static struct store_bytes random_text(char *text)
{
    size_t kind = below(20), length = kind < 12 ? below(60) : kind < 17 ? below(1200) : 1500 + below(2400), i;
    struct store_bytes bytes;

    i = (size_t)sprintf(text, "%zu of %llu ", run.message_count, (unsigned long long)run.number);
    for (; i < length; i++) text[i] = "abcdefgh ijk\n\"\\:mno"[below(19)];
    bytes.at = (const unsigned char *)text;
    bytes.length = i;
    return bytes;
}

static void add_message(const struct store_room *room, uint64_t by, uint64_t digest,
                        const struct store_receipt *receipt)
{
    const struct ring *ring = &room->ring;
    uint64_t start = frame_start(ring, ring->head - 1);
    struct message *message = &run.messages[run.message_count++];

    memset(message, 0, sizeof *message);
    message->room.length = room->name_length;
    memcpy(message->room.bytes, room->name, room->name_length);
    message->event = event_count;
    message->id = receipt->id;
    message->t = receipt->t;
    message->by = by;
    message->digest = digest;
    message->length = (size_t)(ring->head - start);
    message->frame = malloc(message->length);
    assert_non_null(message->frame);
    ring_copy(ring, start, ring->head, message->frame);
    assert_true(frame_id(ring, start) == receipt->id);
}

/* A nonce that is known is given again sometimes: its first receipt must come. */
static void say_something(void)
{
    char text[STORE_TEXT_MAX];
    struct store_member *member = random_member();
    size_t before = machine.volume->op_count;
    struct store_nonce nonce = {1, 0};
    struct store_receipt receipt;
    struct nonce again;
    enum store_result result;

    if (member == NULL) return;
    again = member->nonces[below(NONCES_MAX)];
    if (!one_in(5)) again.digest = 0;
    nonce.digest = again.digest != 0 ? again.digest : 0xABCD000000000000ULL + ++run.digests;
    nonce.given = again.digest != 0 || !one_in(3);
    result = store_send(member, random_text(text), nonce, NULL, run.now, &receipt);
    if (again.digest != 0) {
        assert_int_equal(result, STORE_OK);
        assert_true(receipt.id == again.id && receipt.t == again.t);
    } else if (result == STORE_OK) {
        add_written_event(before);
        add_message(store_room(member), store_by(member), nonce.given ? nonce.digest : 0, &receipt);
    }
    after_call();
}

/* Someone is seen, and may be typing: neither is an event. */
static void show_up(void)
{
    struct store_member *member = random_member();

    if (member == NULL) return;
    store_seen(member, run.now);
    if (one_in(3)) store_typing(member, run.now);
}

static void child_may_work(void)
{
    if (machine.child.left != 0 && (int)below(10) >= run.laziness) child_works(one_in(2));
    if (machine.child.is_done && (int)below(10) >= run.laziness) take_answer();
}

/* Time goes on, and the store is called as it asks to be; or all the machine sleeps. */
static void let_time_pass(void)
{
    static const int64_t times[] = {10, 300, 1100, 1100, 6 * SECOND, 12 * SECOND, 2 * MINUTE, 11 * MINUTE, HOUR + 1,
                                    HOUR + 1, 25 * (int64_t)HOUR, 31 * DAY};
    int64_t left = times[below(sizeof times / sizeof times[0])], wait;
    int turns;

    for (turns = one_in(4) ? 6 : 0; turns < 6; turns++) {
        wait = store_tick(running, run.now);
        after_call();
        child_may_work();
        if (wait < 0 || wait > left) break;
        run.now.mono_ms += wait;
        run.now.wall_ms += wait;
        left -= wait;
    }
    run.now.mono_ms += left;
    run.now.wall_ms += one_in(10) ? -(int64_t)HOUR : left;
    tick();
}

static void change_faults(void)
{
    static const int faults[] = {FAIL_WRITE, FAIL_WRITE | FAIL_CUT, FAIL_FILE, FAIL_NEW, FAIL_FOLDER, FAIL_RENAME,
                                FAIL_OPEN, FAIL_FILE | FAIL_NEW, FAIL_WRITE | FAIL_OPEN, FAIL_COPY, FAIL_COPY};

    if (!run.is_faulty) return;
    machine.faults = machine.fault_times > 0 ? 0 : faults[below(sizeof faults / sizeof faults[0])];
    machine.fault_times = machine.faults == 0 ? 0 : one_in(3) ? 50 : 1 + (int)below(3);
}

/* Starts a store on VOLUME, without faults. */
static struct store *open_store(struct volume *volume, char *reason)
{
    struct store_options options = run.options;

    machine.volume = volume;
    machine.faults = machine.fault_times = 0;
    memset(machine.handles, 0, sizeof machine.handles);
    options.seed = below(NEVER);
    return store_open(&options, run.now, reason);
}

/* The server is killed; its child may not get to what it was asked. */
static void kill_store(struct store *store)
{
    machine.is_killed = 1;
    free_store(store);
    machine.is_killed = 0;
}

static void start(void)
{
    char reason[STORE_REASON_SIZE];

    running = open_store(&main_volume, reason);
    if (running == NULL) fail_msg("CRASH_SEED=%llu: no start: %s", (unsigned long long)run.number, reason);
    add_event(main_volume.op_count - 1);
    if (run.mode != STORE_SYNC_EXIT) promise(event_count); /* it has settled everything */
    after_call();
}

static void stop(void)
{
    if (store_close(running, run.now) == 0) promise(event_count);
    running = NULL;
}

/* Stops or kills, and starts again; not after a failed fsync: a start can't know that what it reads is on no disk. */
static void restart(void)
{
    if (run.mode == STORE_SYNC_EXIT || one_in(3)) {
        stop();
        if (run.promised < event_count) return;
    } else {
        if (one_in(2)) child_works(1);
        if (running->lost != 0 || machine.child.errors[0] != 0 || machine.child.errors[2] != 0) return;
        kill_store(running);
        running = NULL;
    }
    run.now.mono_ms += 100;
    start();
}

static void kill_child(void)
{
    end_child();
    take_answer();
}

static void step(void)
{
    size_t what = below(100);

    if (what < 14) join_someone();
    else if (what < 19) rename_someone();
    else if (what < 22) let_someone_leave();
    else if (what < 64) say_something();
    else if (what < 69) show_up();
    else if (what < 79) let_time_pass();
    else if (what < 88) store_rewrite(running, run.now);
    else if (what < 94) change_faults();
    else if (what < 97 || (running->is_renamed && one_in(6))) restart();
    else if (what < 98 && machine.child.is_alive && one_in(6)) kill_child();
    if (running == NULL) return;
    child_may_work();
    if (run.haste == 1 ? !one_in(4) : one_in((size_t)run.haste)) tick();
}

static void converse(void)
{
    int i;

    start();
    for (i = 0; i < STEPS && running != NULL && main_volume.inode_count < INODES - 6; i++) step();
    if (running == NULL) return;
    if (one_in(2)) stop();
    else kill_store(running);
    running = NULL;
}

static void begin_run(enum store_sync mode, uint64_t number)
{
    memset(&run, 0, sizeof run);
    chance = number * 3 + (uint64_t)mode;
    run.mode = mode;
    run.number = number;
    run.options.file = machine.path;
    run.options.rooms = 2 + below(ROOMS - 1);
    run.options.history = below(3) * 1000;
    run.options.members = 2 + below(MEMBERS_OF - 1);
    run.options.hold_ms = DAY;
    run.options.sync = mode;
    run.options.changed = no_change;
    run.options.synced = no_sync;
    run.options.tell = no_word;
    run.now.wall_ms = 1700000000000;
    run.now.mono_ms = 5000;
    run.laziness = (int)below(9);
    run.is_faulty = one_in(2);
    run.haste = one_in(2) ? 1 : 1 + (int)below(8);
    event_count = 0;
    machine.file_write = NEVER;
    memset(machine.least, 0, sizeof machine.least);
    memset(machine.most, 0, sizeof machine.most);
    memset(&machine.child, 0, sizeof machine.child);
    machine.child.is_refused = one_in(10);
    empty_volume(&main_volume);
}

/* ---- what a crash leaves ---- */

/* A trace as far as it was replayed: what lasts, and what does not yet. */
struct replay {
    const struct volume *volume;
    size_t done;
    int names[NAMES], lasting_names[NAMES];
    struct content lasting[INODES];
    struct content live[INODES]; /* as a process sees them */
    size_t pending[INODES][PENDING], pending_count[INODES];
    size_t folder_pending[PENDING], folder_count;
};

static struct replay main_replay, first_replay;

/* All that VOLUME holds lasts. */
static void begin_replay(struct replay *replay, const struct volume *volume)
{
    int i;

    replay->volume = volume;
    replay->done = replay->folder_count = 0;
    memcpy(replay->names, volume->names, sizeof replay->names);
    memcpy(replay->lasting_names, volume->names, sizeof replay->names);
    memset(replay->pending_count, 0, sizeof replay->pending_count);
    for (i = 0; i < INODES; i++) {
        copy_content(&replay->lasting[i], &volume->inodes[i]);
        copy_content(&replay->live[i], &volume->inodes[i]);
    }
}

/* What was unsynced lasts; if the fsync failed, all or nothing or some of it. */
static void settle_pending(struct replay *replay, int inode, int is_failed)
{
    size_t i, kind = is_failed ? below(3) : 0;

    for (i = 0; i < replay->pending_count[inode]; i++) {
        if (kind == 1 || (kind == 2 && one_in(2))) continue;
        apply(&replay->lasting[inode], replay->volume, &replay->volume->ops[replay->pending[inode][i]]);
    }
    replay->pending_count[inode] = 0;
}

static void replay_op(struct replay *replay)
{
    const struct op *op = &replay->volume->ops[replay->done];

    switch (op->kind) {
    case WRITE:
    case CUT:
        assert_true(replay->pending_count[op->inode] < PENDING);
        replay->pending[op->inode][replay->pending_count[op->inode]++] = replay->done;
        apply(&replay->live[op->inode], replay->volume, op);
        break;
    case FSYNC:
    case FSYNC_FAILED: settle_pending(replay, op->inode, op->kind == FSYNC_FAILED); break;
    case FSYNC_FOLDER:
        memcpy(replay->lasting_names, replay->names, sizeof replay->names);
        replay->folder_count = 0;
        break;
    default:
        assert_true(replay->folder_count < PENDING);
        change_names(replay->names, op);
        replay->folder_pending[replay->folder_count++] = replay->done;
    }
    replay->done++;
}

/* What becomes of a file's unsynced bytes. MIXED: chance says, for each file; LIVE: there is no power cut. */
enum fate { NOTHING, ALL, TORN, HOLES, LENGTH, BLOCKS, MIXED, LIVE };

/* A write's first bytes. */
static void tear(struct content *image, const struct volume *volume, const struct op *op)
{
    size_t length;

    if (op->kind != WRITE) return;
    length = one_in(4) ? op->length - 1 : below(op->length);
    if (one_in(4) && op->at / BLOCK < (op->at + length) / BLOCK) length = (op->at + length) / BLOCK * BLOCK - op->at;
    put_at(image, op->at, volume->data.bytes + op->data, length);
}

/* How many of COUNT operations the block at AT has seen. */
static size_t block_age(uint64_t seed, size_t at, size_t count)
{
    seed += at / BLOCK * 0x9E3779B97F4A7C15ULL;
    if (random_below(&seed, 2) == 0) return count;
    return random_below(&seed, 2) == 0 ? 0 : random_below(&seed, count + 1);
}

/* The part of OP, the I-th of COUNT, that the blocks have seen. */
static void write_blocks(struct content *image, const struct volume *volume, const struct op *op, uint64_t seed,
                         size_t i, size_t count)
{
    size_t at = op->at, end = op->at + op->length, next;

    if (end > image->length) set_length(image, end);
    for (; at < end; at = next) {
        next = (at / BLOCK + 1) * BLOCK < end ? (at / BLOCK + 1) * BLOCK : end;
        if (i >= block_age(seed, at, count)) continue;
        put_at(image, at, volume->data.bytes + op->data + (at - op->at), next - at);
    }
}

static void make_image(const struct replay *replay, int inode, enum fate fate, struct content *image)
{
    size_t i, count = replay->pending_count[inode], cut = below(count + 1);
    uint64_t seed = below(NEVER);

    if (fate == MIXED) fate = (enum fate)below(MIXED);
    copy_content(image, fate == LIVE ? &replay->live[inode] : &replay->lasting[inode]);
    for (i = 0; i < count && fate != NOTHING && fate != LIVE; i++) {
        const struct op *op = &replay->volume->ops[replay->pending[inode][i]];
        if (fate == TORN && i > cut) break;
        if (fate == TORN && i == cut) tear(image, replay->volume, op);
        else if (fate == LENGTH && i >= cut && op->kind == WRITE) set_length(image, op->at + op->length);
        else if (fate == BLOCKS && op->kind == WRITE) write_blocks(image, replay->volume, op, seed, i, count);
        else if (fate != HOLES || one_in(2)) apply(image, replay->volume, op);
    }
}

/* Fills VOLUME with the files that the first NAMES_DONE unsynced changes of names leave. Returns the inode that FILE
 * was in REPLAY, -1: there is none. */
static int make_volume(const struct replay *replay, size_t names_done, enum fate fate, struct volume *volume)
{
    int names[NAMES], name, same;
    size_t change;

    memcpy(names, replay->lasting_names, sizeof names);
    for (change = 0; change < names_done; change++) {
        change_names(names, &replay->volume->ops[replay->folder_pending[change]]);
    }
    empty_volume(volume);
    for (name = 0; name < NAMES; name++) {
        if (names[name] < 0) continue;
        for (same = 0; names[same] != names[name]; same++) continue;
        if (same < name) {
            volume->names[name] = volume->names[same];
            continue;
        }
        volume->names[name] = add_inode(volume);
        make_image(replay, names[name], fate, &volume->inodes[volume->names[name]]);
    }
    return names[FILE_NAME];
}

/* ---- is it all there? ---- */

/* What must be found: what all events from LEAST to MOST left there, and nothing but what one of them did. */
struct demand {
    size_t least, most;
    size_t shown; /* events that somebody may have seen */
    const char *what;
    size_t at;    /* the trace's length */
};

static void violated(const struct demand *demand, const char *format, ...)
{
    char sentence[512];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    fail_msg("sync=%s, CRASH_SEED=%llu, %zu operations, then %s (events %zu to %zu): %s", mode_names[run.mode],
             (unsigned long long)run.number, demand->at, demand->what, demand->least, demand->most, sentence);
}

/* The ids that a room holds. */
struct held {
    uint64_t ids[FRAMES_HELD];
    size_t count;
};

static int has_id(const struct held *held, uint64_t id)
{
    size_t i;

    for (i = 0; i < held->count; i++) {
        if (held->ids[i] == id) return 1;
    }
    return 0;
}

static const struct seen_room *room_after(size_t event, const struct seen_room *room)
{
    return seen_room(&run.events[event].after, &room->name);
}

/* Whether ROOM was there, made in event ERA, after an event of DEMAND. */
static int may_be_of(const struct seen_room *room, size_t era, const struct demand *demand)
{
    size_t event;

    for (event = demand->least; event <= demand->most; event++) {
        const struct seen_room *then = room_after(event, room);
        if (then != NULL && (era == 0 || then->era == era)) return 1;
    }
    return 0;
}

static const struct message *find_message(const struct seen_room *room, uint64_t id)
{
    size_t i;

    for (i = 0; i < run.message_count; i++) {
        if (run.messages[i].id == id && is_same_name(&run.messages[i].room, &room->name)) {
            return &run.messages[i];
        }
    }
    return NULL;
}

/* Every frame held is one that was said, in its order and unchanged. */
static void check_frames(struct store *store, const struct seen_room *found, const struct demand *demand,
                         struct held *held)
{
    static unsigned char frame[STORE_FRAME_MAX];
    const struct store_room *room = store_find(store, &found->name);
    uint64_t at, end, before = 0;

    if (room->ring.shown != room->ring.head) violated(demand, "what was read is not shown");
    held->count = 0;
    for (at = room->ring.tail; at < room->ring.head; at = end) {
        uint64_t id = frame_id(&room->ring, at);
        const struct message *message = find_message(found, id);
        end = frame_end(&room->ring, at);
        assert_true(held->count < FRAMES_HELD);
        held->ids[held->count++] = id;
        if (id <= before) violated(demand, "ids do not rise");
        if (message == NULL) violated(demand, "a message that was never said: %llu", (unsigned long long)id);
        if (message->event > demand->most || !may_be_of(found, room_after(message->event, found)->era, demand)) {
            violated(demand, "message %llu should not be there", (unsigned long long)id);
        }
        ring_copy(&room->ring, at, end, frame);
        if (end - at != message->length || memcmp(frame, message->frame, message->length) != 0) {
            violated(demand, "message %llu is changed", (unsigned long long)id);
        }
        before = id;
    }
}

/* A nonce is of a message that is there, or was and made place for newer ones. */
static void check_nonces(const struct seen_room *found, const struct seen_member *member, const struct held *held,
                         const struct demand *demand)
{
    size_t i;

    for (i = 0; i < NONCES_MAX && member->nonces[i].digest != 0; i++) {
        const struct nonce *nonce = &member->nonces[i];
        const struct message *message = find_message(found, nonce->id);
        if (message == NULL || message->digest != nonce->digest) violated(demand, "a nonce is another message's");
        if (message->t != nonce->t || message->by != member->by) violated(demand, "a nonce has another receipt");
        if (message->event > demand->most) violated(demand, "a nonce is known too soon");
        if (!has_id(held, nonce->id) && (held->count == 0 || nonce->id > held->ids[0])) {
            violated(demand, "message %llu is answered by its nonce, but lost", (unsigned long long)nonce->id);
        }
    }
}

/* Every member is one that was there, under a name it had, with its key. */
static void check_member(struct store *store, const struct seen_room *found, const struct seen_member *member,
                         const struct demand *demand)
{
    const struct store_member *holder = find_name(store_find(store, &found->name), &member->name);
    size_t event;

    if (holder->by != member->by) violated(demand, "a name has two holders");
    for (event = demand->least; event <= demand->most; event++) {
        const struct seen_member *then = seen_member(room_after(event, found), member->by);
        if (then == NULL || !is_same_name(&then->name, &member->name)) continue;
        if (memcmp(then->key, member->key, STORE_KEY_SIZE) != 0) violated(demand, "a member has another's key");
        return;
    }
    violated(demand, "the member %llu of %s is called %.*s, or is there at all", (unsigned long long)member->by,
             found->name.bytes, (int)member->name.length, member->name.bytes);
}

/* The member BASE, who was there all the while, is there, and knows the nonces that it knew all the while. */
static void check_kept_member(const struct seen_room *found, const struct seen_room *room,
                              const struct seen_member *base, const struct demand *demand)
{
    const struct seen_member *member = seen_member(found, base->by);
    const struct seen_member *last = seen_member(room_after(demand->most, room), base->by);
    size_t event, i;

    for (event = demand->least; event <= demand->most; event++) {
        if (seen_member(room_after(event, room), base->by) == NULL) return;
    }
    if (member == NULL) {
        violated(demand, "the member %llu of %s is lost", (unsigned long long)base->by, room->name.bytes);
    }
    for (i = 0; i < NONCES_MAX && base->nonces[i].digest != 0; i++) {
        if (seen_nonce(last, base->nonces[i].digest) == NULL) continue;
        if (seen_nonce(member, base->nonces[i].digest) == NULL) violated(demand, "a nonce is forgotten");
    }
}

/* The room BASE, which was there all the while, is there with what was there all the while. */
static void check_kept_room(const struct seen_room *found, const struct seen_room *base, const struct held *held,
                            const struct demand *demand)
{
    const struct seen_room *last = room_after(demand->most, base), *shown = room_after(demand->shown, base);
    size_t i;

    if (found == NULL) violated(demand, "the room %s is lost", base->name.bytes);
    for (i = 0; i < run.message_count; i++) {
        const struct message *message = &run.messages[i];
        if (message->event > demand->least || find_message(base, message->id) != message) continue;
        if (room_after(message->event, base)->era != base->era) continue;
        if (last->oldest == 0 || message->id < last->oldest) continue;
        if (!has_id(held, message->id)) {
            violated(demand, "message %llu of event %zu is lost", (unsigned long long)message->id, message->event);
        }
    }
    for (i = 0; i < base->count; i++) check_kept_member(found, base, &base->members[i], demand);
    if (run.mode == STORE_SYNC_EXIT) return;
    if (found->next_id < shown->next_id) violated(demand, "an id would be given again");
    if (found->next_by < shown->next_by) violated(demand, "a `by` would be given again");
}

/* What is found is to the letter what was there, but for the numbers, which a start moves on. */
static void check_same_room(const struct seen_room *found, const struct seen_room *base, const struct demand *demand)
{
    if (found->speakers != base->speakers) violated(demand, "another number of members spoke");
    if (found->oldest != base->oldest || found->newest != base->newest) violated(demand, "other messages are held");
    if (found->count != base->count || memcmp(found->members, base->members, sizeof found->members) != 0) {
        violated(demand, "the members differ");
    }
}

/* Whether BASE was the same room from LEAST to MOST. */
static int is_kept(const struct seen_room *base, const struct demand *demand)
{
    size_t event;

    for (event = demand->least; event <= demand->most; event++) {
        const struct seen_room *then = room_after(event, base);
        if (then == NULL || then->era != base->era) return 0;
    }
    return 1;
}

static void check_store(struct store *store, const struct seen *found, const struct demand *demand)
{
    const struct seen *base = &run.events[demand->least].after;
    static struct held held[ROOMS];
    size_t i, j;

    for (i = 0; i < found->count; i++) {
        const struct seen_room *room = &found->rooms[i];
        int is_empty = room->count == 0 && room->oldest == 0; /* the first half of a join; it gives way at once */
        if (!is_empty && !may_be_of(room, 0, demand)) {
            violated(demand, "the room %s should not be there", room->name.bytes);
        }
        check_frames(store, room, demand, &held[i]);
        for (j = 0; j < room->count; j++) {
            check_member(store, room, &room->members[j], demand);
            check_nonces(room, &room->members[j], &held[i], demand);
        }
    }
    for (i = 0; i < base->count; i++) {
        const struct seen_room *room = seen_room(found, &base->rooms[i].name);
        if (!is_kept(&base->rooms[i], demand)) continue;
        check_kept_room(room, &base->rooms[i], room != NULL ? &held[room - found->rooms] : NULL, demand);
        if (demand->least == demand->most) check_same_room(room, &base->rooms[i], demand);
    }
}

/* ---- starts after a crash ---- */

static struct {
    size_t tried, nested, refused;
} states;

/* A file that lost its only records' beginnings can't be told from another program's. */
static int may_be_refused(const struct volume *volume, const struct demand *demand, const char *reason)
{
    const struct content *file = &volume->inodes[volume->names[FILE_NAME]];
    size_t i;

    if (run.events[demand->least].after.count > 0 || strstr(reason, "is not a data file") == NULL) return 0;
    for (i = 1; i < file->length; i++) {
        if (may_begin(file->bytes, i, file->length)) return 0;
    }
    return 1;
}

/* Starts a store on VOLUME, looks at it and kills it. FOUND is what it holds. Returns -1 if it was rightly refused. */
static int try_start(struct volume *volume, const struct demand *demand, struct seen *found)
{
    char reason[STORE_REASON_SIZE];
    struct store *store = open_store(volume, reason);

    states.tried++;
    if (store == NULL && !may_be_refused(volume, demand, reason)) violated(demand, "no start: %s", reason);
    states.refused += store == NULL;
    if (store == NULL) return -1;
    see(store, found);
    check_store(store, found, demand);
    kill_store(store);
    return 0;
}

/* After a whole start its numbers may have been given: the next one's are higher. */
static void check_moved(const struct seen *first, const struct seen *second, const struct demand *demand)
{
    size_t i;

    for (i = 0; i < first->count; i++) {
        const struct seen_room *room = seen_room(second, &first->rooms[i].name);
        if (room == NULL) violated(demand, "a room is lost after the start");
        if (room->next_id <= first->rooms[i].next_id || room->next_by <= first->rooms[i].next_by) {
            violated(demand, "a start's numbers would be given again");
        }
    }
}

/* A start from first_volume is cut short by a kill or a power cut at each of its operations, and another follows. */
static void crash_again(struct demand demand)
{
    struct seen first, second;
    int i;

    begin_replay(&first_replay, &first_volume);
    if (try_start(&first_volume, &demand, &first) != 0) return;
    for (;;) {
        int is_whole_start = first_replay.done == first_volume.op_count;
        for (i = 0; i < 4; i++) {
            size_t names = first_replay.folder_count;
            demand.what = i == 0 ? "a start killed" : "a start cut short";
            (void)make_volume(&first_replay, i == 0 ? names : below(names + 1),
                              i == 0 ? LIVE : i == 1 ? NOTHING : MIXED, &second_volume);
            states.nested++;
            if (try_start(&second_volume, &demand, &second) != 0) continue;
            if (is_whole_start && run.mode != STORE_SYNC_EXIT) check_moved(&first, &second, &demand);
        }
        if (is_whole_start) return;
        replay_op(&first_replay);
    }
}

static void try_state(const struct demand *demand, size_t nested_every)
{
    struct seen found;

    if (one_in(nested_every)) crash_again(*demand);
    else (void)try_start(&first_volume, demand, &found);
}

/* With `exit` it is the file, INODE, that says what must be there: what it was written with. */
static void demand_of_file(struct demand *demand, int inode, int is_kill)
{
    size_t promised = promised_before(demand->at);

    if (run.mode != STORE_SYNC_EXIT) return;
    demand->most = inode < 0 ? 0 : machine.most[inode];
    demand->least = inode < 0 ? 0 : is_kill ? demand->most : machine.least[inode];
    demand->shown = demand->least;
    if (demand->most < promised) violated(demand, "the file of a clean stop is not there");
}

static void kill_here(int is_torn)
{
    const struct op *op = &main_volume.ops[main_replay.done];
    struct demand demand;
    int inode = make_volume(&main_replay, main_replay.folder_count, LIVE, &first_volume);

    if (is_torn && (op->kind != WRITE || op->inode != inode)) return; /* what a rewrite has written is not looked at */
    if (is_torn) tear(&first_volume.inodes[first_volume.names[FILE_NAME]], &main_volume, op);
    demand.at = main_replay.done;
    demand.least = demand.shown = written_before(demand.at);
    demand.most = written_before(demand.at + (size_t)is_torn); /* a join may be torn between its records */
    demand.what = is_torn ? "kill -9 in a write" : "kill -9";
    demand_of_file(&demand, inode, 1);
    try_state(&demand, 400);
}

static void cut_power(size_t names_done, enum fate fate)
{
    static const char *const fates[] = {"a power cut (nothing unsynced)", "a power cut (all unsynced bytes)",
                                        "a power cut (torn)", "a power cut (holes)", "a power cut (length alone)",
                                        "a power cut (lost blocks)", "a power cut"};
    struct demand demand;

    demand.at = main_replay.done;
    demand.least = promised_before(demand.at);
    demand.most = written_before(demand.at);
    demand.shown = run.mode == STORE_SYNC_ALWAYS ? demand.least : demand.most;
    demand.what = fates[fate];
    demand_of_file(&demand, make_volume(&main_replay, names_done, fate, &first_volume), 0);
    try_state(&demand, 150);
}

/* All that can be made of the trace so far. */
static void crash_here(void)
{
    size_t names = main_replay.folder_count;
    int i;

    kill_here(0);
    if (main_replay.done < main_volume.op_count) kill_here(1);
    cut_power(0, NOTHING);
    if (names > 0) cut_power(names, NOTHING);
    if (names > 0) cut_power(0, ALL);
    for (i = 0; i < OFTEN; i++) cut_power(below(names + 1), (enum fate)below(LIVE));
}

static void crash_everywhere(enum store_sync mode, uint64_t number)
{
    begin_run(mode, number);
    begin_replay(&main_replay, &main_volume);
    converse();
    machine.child.is_refused = 0;
    for (;;) {
        crash_here();
        if (main_replay.done == main_volume.op_count) break;
        replay_op(&main_replay);
    }
    while (run.message_count > 0) free(run.messages[--run.message_count].frame);
}

/* ---- the tests ---- */

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* STATE: the mode. */
static void what_was_promised_is_there_after_any_crash(void **state)
{
    const enum store_sync *mode = *state;
    uint64_t i, runs = number_from("CRASH_RUNS", RUNS), first = number_from("CRASH_SEED", 1);

    memset(&states, 0, sizeof states);
    for (i = 0; i < runs; i++) crash_everywhere(*mode, first + i);
    printf("# sync=%s: %zu crash states of %llu conversations tried, %zu of them in a start; %zu starts refused\n",
           mode_names[*mode], states.tried, (unsigned long long)runs, states.nested, states.refused);
}

static int begin_all(void **state)
{
    static const struct store_calls played = {play_open, play_read, play_write, play_ftruncate, play_fsync, play_rename,
                                              play_link, play_unlink, play_close, play_pipe, play_fork, play_waitpid};

    (void)state;
    disk = played;
    make_folder(machine.folder);
    snprintf(machine.path, sizeof machine.path, "%s/snug.data", machine.folder);
    machine.real_fd = fileno(tmpfile());
    return machine.real_fd >= 0 ? 0 : -1;
}

static int end_all(void **state)
{
    (void)state;
    remove_folder(machine.folder);
    return 0;
}

int main(void)
{
    enum store_sync modes[] = {STORE_SYNC_ALWAYS, STORE_SYNC_SECOND, STORE_SYNC_EXIT};
    const struct CMUnitTest tests[] = {
        {"what lasts (sync=always) is there after any crash", what_was_promised_is_there_after_any_crash, NULL, NULL,
         &modes[0]},
        {"what a round has synced (sync=second) is there after any crash", what_was_promised_is_there_after_any_crash,
         NULL, NULL, &modes[1]},
        {"the last rewrite (sync=exit) is there after any crash", what_was_promised_is_there_after_any_crash, NULL,
         NULL, &modes[2]},
    };

    return cmocka_run_group_tests(tests, begin_all, end_all);
}
