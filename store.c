/* store.c: rooms, members, messages, states, and the data file. No sockets, no clocks, no chance, no output.
 *
 * The data file is an append log that reads as text, and is itself an event stream: every record is a comment line,
 * then for a message its frame as readers get it, then an empty line.
 *
 *     :room CRC NEXT_ID NEXT_BY LAST_T SPEAKERS DESERTED_MS ROOM
 *     :member CRC BY SAID ABSENT_MS KEY NONCES ROOM/NAME
 *     :message CRC NONCE ROOM           (then the lines id: and data:)
 *     :gone CRC BY ROOM                 (a member left or gave way)
 *     :absent CRC DESERTED_MS BY=MS,... ROOM
 *     :end CRC ROOM                     (a room gave way)
 *
 * CRC is the CRC-32 of all that follows it and its blank, to the end of the record, in 8 hexadecimal digits. NONCE is
 * 16 of them or `-`; NONCES is `-` or a comma list of NONCE@ID@T. A room has no '/' in its name, so ROOM/NAME splits
 * at the first. A later record overrides an earlier one; any record but :end makes the room it names.
 *
 * What is written is fsynced in rounds, one at a time, by a child process, so that nobody waits for the disk: what was
 * written before a round began lasts when it ends well. A rewrite makes FILE.new in slices; then one round syncs both
 * files, FILE.new is renamed, and the next round syncs the folder. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* POSIX.1-2008 with XSI, for realpath() */
#endif

#include "store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- limits ---- */

#define NONCES_MAX 8                      /* remembered for each member */
#define TYPING_MAX 16                     /* who are shown to be typing */
#define TYPING_MS 6000                    /* how long one call to store_typing shows */
#define PEOPLE_MAX 256                    /* who are listed in `people` */
#define LISTED_MAX 64                     /* rooms in store_list */
#define GRACE_MS 5000                     /* a member is here so long after its last stream: a reload is no leaving */
#define SEEN_MS 90000                     /* and so long after store_seen */
#define SILENT_HOLD_MS (600 * 1000)       /* a name that never spoke is kept so long at most */
#define DESERTED_MS (600 * 1000)          /* a room where one spoke at most may give way then */
#define DESERTED_LONG_MS (30 * 86400000LL) /* and any room then */
#define STATE_INTERVAL_MS 250             /* four states a second in a room at most */
#define STATE_BYTES_PER_S (4 << 20)       /* and so many bytes of them */
#define STATE_STALE_MS 1000               /* a new state waits so long for those who stand inside the old one */
#define KEEP_MS (3600 * 1000)             /* absences are written so often while anyone is here */
#define SYNC_MS 1000                      /* what is written is fsynced so long after at most */
#define KEPT_MAX 10000                    /* damaged files beside the data file */
#define RETRY_MS 10000                    /* a rewrite that failed is tried again */
#define LOST_MS 1000                      /* a file that could not be fsynced is written anew so soon */
#define REWRITE_MIN (256 * 1024)          /* a smaller file is left alone */
#define REWRITE_SLICE (64 * 1024)         /* bytes that a rewrite writes in a turn */
#define REWRITE_SYNC (4 * 1024 * 1024)    /* before an fsync, and as many while it goes on: more, and write() waits */
#define NUMBER_END (1ULL << 53)           /* JavaScript's integers end here; ids and `by` stay below */
#define MOVE_MIN (1ULL << 20)             /* every start moves numbers on by so much, */
#define MOVE_MAX (1ULL << 32)             /* to so much */
#define BATCH_SIZE 16384                  /* records written by one write() */
#define LOAD_SIZE (64 * 1024)             /* the window in which the file is read at start */
#define RECORD_MAX 9216                   /* the longest record: a message's line and its frame */
#define ROOM_RECORD_MAX 256               /* :room, and what comes around a frame in the file */
#define MEMBER_RECORD_MAX 768             /* :member with all its nonces */
#define ABSENT_RECORD_MAX 4096            /* :absent is split above this */

typedef char batch_holds_a_join[RECORD_MAX + 2 * ROOM_RECORD_MAX + MEMBER_RECORD_MAX <= BATCH_SIZE ? 1 : -1];
typedef char record_holds_a_frame[STORE_FRAME_MAX + ROOM_RECORD_MAX <= RECORD_MAX ? 1 : -1];
typedef char frame_holds_a_text[2 * STORE_TEXT_MAX + STORE_QUOTED_MAX + 200 <= STORE_FRAME_MAX ? 1 : -1];
typedef char list_holds_rooms[LISTED_MAX * (2 * STORE_NAME_MAX + 80) + 2 <= STORE_LIST_MAX ? 1 : -1];

/* ---- the system, as tests see it ---- */

static int open_file(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

static struct store_calls {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int fd, void *bytes, size_t size);
    ssize_t (*write)(int fd, const void *bytes, size_t size);
    int (*ftruncate)(int fd, off_t length);
    int (*fsync)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*link)(const char *from, const char *to);
    int (*unlink)(const char *path);
    int (*close)(int fd);
    int (*pipe)(int fds[2]);
    pid_t (*fork)(void);
    pid_t (*waitpid)(pid_t pid, int *status, int options);
} disk = {open_file, read, write, ftruncate, fsync, rename, link, unlink, close, pipe, fork, waitpid};

/* ---- types ---- */

/* (R1) tail <= shown <= head <= tail + size. (R2) all lie at frame borders, and offsets never go back, also when a room
 * is made anew in its place. (R3) a cursor < tail has lost frames. (R4) readers get what is before `shown`; what is
 * behind it is written, but waits for an fsync (STORE_SYNC_ALWAYS alone). */
struct ring {
    unsigned char *bytes; /* offset o lies at bytes[o % size] */
    size_t size;
    uint64_t tail, shown, head;
};

/* An event that holds the newest state of something, for those who have an older version. */
struct state {
    unsigned char *text;
    size_t size, length;
    uint32_t version;     /* of the text */
    uint32_t announced;   /* the version that every reader shall have; newcomers may have a later one */
    uint32_t inside;      /* readers who have taken a part of this version */
    int stale;            /* the text is not the truth any more, since stale_ms */
    int64_t stale_ms;
};

struct nonce {
    uint64_t digest; /* 0: none */
    uint64_t id;
    int64_t t;
};

/* Places are numbered from 1 in links, 0 ends a list. */
typedef uint16_t place;

struct store_member {
    uint64_t by; /* 0: the place is free */
    struct store_room *room;
    place next, prev;           /* by rising `by`; `next` also links free places */
    place same_name, same_key;  /* the next in a bucket */
    uint32_t name_hash;
    unsigned char key[STORE_KEY_SIZE];
    unsigned char name[STORE_NAME_MAX];
    unsigned char name_length;
    unsigned char is_here;
    unsigned char nonce_next;   /* the oldest of nonces */
    uint32_t waits;             /* streams and held requests */
    uint32_t renamed;           /* how often: the version of `you` */
    uint64_t said;              /* messages */
    int64_t here_until_ms;      /* here without waits until then */
    int64_t absent_since_ms;    /* not here since */
    int64_t absent_ms;          /* and before, in earlier runs */
    struct store_bucket bucket;
    struct nonce nonces[NONCES_MAX];
};

struct typer {
    uint64_t by;
    place member;
    int64_t until_ms;
};

struct store_room {
    struct store *store;
    unsigned char name[STORE_FOLDED_MAX];
    size_t name_length; /* 0: no room in this place */
    uint32_t next_room; /* in the bucket, numbered from 1 */
    struct ring ring;
    uint64_t asked;         /* the ring's head when the fsync that goes on began */
    uint32_t next_unshown;  /* in store->unshown, numbered from 1 */
    int is_unshown;         /* whether it is in there */
    uint64_t next_id, next_by;
    int64_t last_t;
    uint64_t speakers;  /* members who ever spoke */
    int64_t deserted_since_ms, deserted_ms; /* as a member's absence */
    struct store_member *members; /* store->members of them */
    place *by_name, *by_key;      /* buckets */
    place first, last, free, fresh; /* the list; the free places; places ever used */
    size_t count, here, readers;
    struct state people, typing;
    int64_t states_ms;  /* no state is announced before */
    int is_typing_next; /* if both are to be announced */
    struct typer typers[TYPING_MAX];
    size_t typer_count;
    int64_t lapse_ms; /* when a member's being here may lapse */
    int64_t due_ms;   /* when store_tick must look at it */
};

struct out {
    unsigned char *bytes;
    size_t size, length;
};

enum phase { FRAMES, MEMBERS };

/* A rewrite copies rooms by number: of each its frames, then its members and numbers. What is appended meanwhile for a
 * room that it has passed (or whose members it copies) goes to the new file too. */
struct rewrite {
    int fd; /* -1: none goes on */
    size_t room;
    enum phase phase;
    uint64_t at; /* the next frame's offset */
    uint64_t by; /* the last member copied */
    uint64_t size;
    uint64_t unsynced; /* bytes copied since the last round of fsyncs with it began; what is appended is the next's */
    int is_syncing;    /* it is in the round that goes on */
};

/* What can be fsynced; a round is a sum of them. */
enum { SYNC_FILE = 1, SYNC_NEW = 2, SYNC_FOLDER = 4, SYNC_TARGETS = 3 };

/* The child that fsyncs: it is asked by a byte, a round, and answers with an errno for each target. */
struct syncer {
    pid_t pid;             /* -1: there is none, and the loop does it */
    int ask_fd, answer_fd; /* of pipes */
};

struct store {
    struct store_options options;
    char *path, *lock_path, *new_path, *folder;
    char *kept_path;        /* of the damaged file that was kept last; room for the longest */
    int fd, lock_fd;
    struct syncer syncer;
    int is_running;         /* the start is over: fsyncs must hold nobody up */
    uint64_t size;          /* of the file: all whole records */
    uint64_t held;          /* bytes a rewrite would write, at most */
    int torn;               /* there may be a piece of a record behind `size` */
    int fault;              /* errno of what went wrong last with the file, told; 0: it is well */
    int rewrite_fault;      /* likewise of the last rewrite */
    int is_kept;            /* the file is a damaged one, kept as it is: nothing is written to it, but a new one */
    int is_to_keep;         /* it is to be kept beside when a new one takes its place (STORE_SYNC_EXIT) */
    int lost;               /* errno of an fsync that failed: what the file holds is not known; 0: it is */
    int is_lost_again;      /* if one fails now: that was told, and none of file and folder has ended well since */
    int behind;             /* the file lacks something: a rewrite is wanted */
    int64_t unsynced_ms;    /* written, and no fsync begun since; -1: nothing */
    int is_renamed;         /* the folder has a name for the file that is not fsynced */
    int round;              /* what is being fsynced, 0: nothing */
    uint64_t written;       /* how often something was, */
    uint64_t round_mark;    /* when the round began, and */
    uint64_t synced_mark;   /* up to where it lasts */
    uint32_t unshown;       /* the first room with messages that wait for that, numbered from 1 */
    int64_t retry_ms;       /* no rewrite before */
    int64_t keep_ms;        /* absences were last kept */
    size_t here;            /* members who are, in all rooms */
    struct rewrite rewrite;
    struct out batch;       /* records on their way to the file */
    uint64_t seed;
    uint32_t crc_table[8][256];
    unsigned char *block;   /* all that follows lies in it */
    struct store_room *rooms;
    size_t rooms_used;      /* places ever used */
    uint32_t *room_buckets; /* numbered from 1 */
    size_t room_bucket_count, member_bucket_count;
    size_t people_size, ring_size;
    struct store_member *all_members;
    place *all_buckets;
    unsigned char *all_rings, *all_states;
    int64_t due_ms;         /* the earliest of the rooms' */
};

#define STATE_HEAD 64                                /* what is around a state's elements */
#define PERSON_MAX (STORE_QUOTED_MAX + 32)           /* {"by":N,"name":"..."}, */
#define TYPING_SIZE (STATE_HEAD + TYPING_MAX * (STORE_QUOTED_MAX + 1))

/* ---- bytes out ---- */

static void put_bytes(struct out *out, const void *bytes, size_t length)
{
    assert(length <= out->size - out->length);
    memcpy(out->bytes + out->length, bytes, length);
    out->length += length;
}

static void put(struct out *out, const char *text) { put_bytes(out, text, strlen(text)); }

static void put_byte(struct out *out, unsigned char byte) { put_bytes(out, &byte, 1); }

static void put_number(struct out *out, uint64_t number)
{
    unsigned char digits[20];
    size_t i = sizeof digits;

    do {
        digits[--i] = (unsigned char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    put_bytes(out, digits + i, sizeof digits - i);
}

static void put_time(struct out *out, int64_t ms) { put_number(out, ms > 0 ? (uint64_t)ms : 0); }

static void put_hex(struct out *out, uint64_t number, int digits)
{
    char text[16];
    int i;

    for (i = digits; i-- > 0; number >>= 4) text[i] = "0123456789abcdef"[number & 15];
    put_bytes(out, text, (size_t)digits);
}

/* The inside of a JSON string (RFC 8259, 7), of text that has no control characters but tab and newline. */
static void put_escaped(struct out *out, const unsigned char *text, size_t length)
{
    size_t start = 0, i;

    for (i = 0; i < length; i++) {
        const char *escape;
        if (text[i] >= ' ' && text[i] != '"' && text[i] != '\\') continue;
        escape = text[i] == '"' ? "\\\"" : text[i] == '\\' ? "\\\\" : text[i] == '\n' ? "\\n" : "\\t";
        put_bytes(out, text + start, i - start);
        put_bytes(out, escape, 2);
        start = i + 1;
    }
    put_bytes(out, text + start, length - start);
}

size_t store_quote(struct store_bytes text, char *out_text)
{
    struct out out = {(unsigned char *)out_text, 2 * text.length + 2, 0};

    put_byte(&out, '"');
    put_escaped(&out, text.at, text.length);
    put_byte(&out, '"');
    return out.length;
}

/* ---- UTF-8 and names ---- */

/* Decodes the character at AT (RFC 3629: shortest form, no surrogates). Returns its bytes, 0 if there is none. */
static size_t decode(const unsigned char *at, size_t left, uint32_t *point)
{
    size_t length = at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    size_t i;

    *point = at[0];
    if (at[0] < 0x80) return 1;
    if (length == 0 || length > left) return 0;
    *point &= 0xFFU >> (length + 1);
    for (i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80) return 0;
        *point = *point << 6 | (at[i] & 0x3FU);
    }
    if ((length == 3 && *point < 0x800) || (*point >= 0xD800 && *point <= 0xDFFF)) return 0;
    if (length == 4 && (*point < 0x10000 || *point > 0x10FFFF)) return 0;
    return length;
}

static size_t encode(uint32_t point, unsigned char bytes[4])
{
    size_t length = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    size_t i;

    if (length == 1) {
        bytes[0] = (unsigned char)point;
        return 1;
    }
    for (i = length; i-- > 1; point >>= 6) bytes[i] = (unsigned char)(0x80 | (point & 0x3F));
    bytes[0] = (unsigned char)((0xF00U >> length & 0xF0U) | point);
    return length;
}

static int is_control(uint32_t point) { return point < 0x20 || (point >= 0x7F && point < 0xA0); }

static int is_blank(uint32_t point)
{
    return point == 0x20 || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
           point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

/* Zero-width and bidirectional controls: two names that look the same must be the same. */
static int is_hidden(uint32_t point)
{
    return point == 0xAD || point == 0x61C || point == 0x180E || (point >= 0x200B && point <= 0x200F) ||
           (point >= 0x202A && point <= 0x202E) || (point >= 0x2060 && point <= 0x2069) || point == 0xFEFF;
}

/* Lower-casing of Latin, Greek and Cyrillic, one to one (Unicode's simple mapping): from FIRST to LAST each STEP-th. */
static const struct fold {
    uint32_t first, last, step;
    int32_t delta;
} folds[] = {
    {0x00C0, 0x00D6, 1, 32}, {0x00D8, 0x00DE, 1, 32}, {0x0100, 0x012E, 2, 1},
    {0x0130, 0x0130, 1, -199}, {0x0132, 0x0136, 2, 1}, {0x0139, 0x0147, 2, 1}, {0x014A, 0x0176, 2, 1},
    {0x0178, 0x0178, 1, -121}, {0x0179, 0x017D, 2, 1}, {0x0181, 0x0181, 1, 210}, {0x0182, 0x0184, 2, 1},
    {0x0186, 0x0186, 1, 206}, {0x0187, 0x0187, 1, 1}, {0x0189, 0x018A, 1, 205}, {0x018B, 0x018B, 1, 1},
    {0x018E, 0x018E, 1, 79}, {0x018F, 0x018F, 1, 202}, {0x0190, 0x0190, 1, 203}, {0x0191, 0x0191, 1, 1},
    {0x0193, 0x0193, 1, 205}, {0x0194, 0x0194, 1, 207}, {0x0196, 0x0196, 1, 211}, {0x0197, 0x0197, 1, 209},
    {0x0198, 0x0198, 1, 1}, {0x019C, 0x019C, 1, 211}, {0x019D, 0x019D, 1, 213}, {0x019F, 0x019F, 1, 214},
    {0x01A0, 0x01A4, 2, 1}, {0x01A6, 0x01A6, 1, 218}, {0x01A7, 0x01A7, 1, 1}, {0x01A9, 0x01A9, 1, 218},
    {0x01AC, 0x01AC, 1, 1}, {0x01AE, 0x01AE, 1, 218}, {0x01AF, 0x01AF, 1, 1}, {0x01B1, 0x01B2, 1, 217},
    {0x01B3, 0x01B5, 2, 1}, {0x01B7, 0x01B7, 1, 219}, {0x01B8, 0x01B8, 1, 1}, {0x01BC, 0x01BC, 1, 1},
    {0x01C4, 0x01C4, 1, 2}, {0x01C5, 0x01C5, 1, 1}, {0x01C7, 0x01C7, 1, 2}, {0x01C8, 0x01C8, 1, 1},
    {0x01CA, 0x01CA, 1, 2}, {0x01CB, 0x01DB, 2, 1}, {0x01DE, 0x01EE, 2, 1}, {0x01F1, 0x01F1, 1, 2},
    {0x01F2, 0x01F4, 2, 1}, {0x01F6, 0x01F6, 1, -97}, {0x01F7, 0x01F7, 1, -56}, {0x01F8, 0x021E, 2, 1},
    {0x0220, 0x0220, 1, -130}, {0x0222, 0x0232, 2, 1}, {0x023A, 0x023A, 1, 10795}, {0x023B, 0x023B, 1, 1},
    {0x023D, 0x023D, 1, -163}, {0x023E, 0x023E, 1, 10792}, {0x0241, 0x0241, 1, 1}, {0x0243, 0x0243, 1, -195},
    {0x0244, 0x0244, 1, 69}, {0x0245, 0x0245, 1, 71}, {0x0246, 0x024E, 2, 1}, {0x0370, 0x0372, 2, 1},
    {0x0376, 0x0376, 1, 1}, {0x037F, 0x037F, 1, 116}, {0x0386, 0x0386, 1, 38}, {0x0388, 0x038A, 1, 37},
    {0x038C, 0x038C, 1, 64}, {0x038E, 0x038F, 1, 63}, {0x0391, 0x03A1, 1, 32}, {0x03A3, 0x03AB, 1, 32},
    {0x03CF, 0x03CF, 1, 8}, {0x03D8, 0x03EE, 2, 1}, {0x03F4, 0x03F4, 1, -60}, {0x03F7, 0x03F7, 1, 1},
    {0x03F9, 0x03F9, 1, -7}, {0x03FA, 0x03FA, 1, 1}, {0x03FD, 0x03FF, 1, -130}, {0x0400, 0x040F, 1, 80},
    {0x0410, 0x042F, 1, 32}, {0x0460, 0x0480, 2, 1}, {0x048A, 0x04BE, 2, 1}, {0x04C0, 0x04C0, 1, 15},
    {0x04C1, 0x04CD, 2, 1}, {0x04D0, 0x052E, 2, 1}, {0x1E00, 0x1E94, 2, 1}, {0x1E9E, 0x1E9E, 1, -7615},
    {0x1EA0, 0x1EFE, 2, 1}, {0x1F08, 0x1F0F, 1, -8}, {0x1F18, 0x1F1D, 1, -8}, {0x1F28, 0x1F2F, 1, -8},
    {0x1F38, 0x1F3F, 1, -8}, {0x1F48, 0x1F4D, 1, -8}, {0x1F59, 0x1F5F, 2, -8}, {0x1F68, 0x1F6F, 1, -8},
    {0x1F88, 0x1F8F, 1, -8}, {0x1F98, 0x1F9F, 1, -8}, {0x1FA8, 0x1FAF, 1, -8}, {0x1FB8, 0x1FB9, 1, -8},
    {0x1FBA, 0x1FBB, 1, -74}, {0x1FBC, 0x1FBC, 1, -9}, {0x1FC8, 0x1FCB, 1, -86}, {0x1FCC, 0x1FCC, 1, -9},
    {0x1FD8, 0x1FD9, 1, -8}, {0x1FDA, 0x1FDB, 1, -100}, {0x1FE8, 0x1FE9, 1, -8}, {0x1FEA, 0x1FEB, 1, -112},
    {0x1FEC, 0x1FEC, 1, -7}, {0x1FF8, 0x1FF9, 1, -128}, {0x1FFA, 0x1FFB, 1, -126}, {0x1FFC, 0x1FFC, 1, -9},
    {0x2126, 0x2126, 1, -7517}, {0x212A, 0x212A, 1, -8383}, {0x212B, 0x212B, 1, -8262},
    {0x2C60, 0x2C60, 1, 1}, {0x2C62, 0x2C62, 1, -10743}, {0x2C63, 0x2C63, 1, -3814}, {0x2C64, 0x2C64, 1, -10727},
    {0x2C67, 0x2C6B, 2, 1}, {0x2C6D, 0x2C6D, 1, -10780}, {0x2C6E, 0x2C6E, 1, -10749}, {0x2C6F, 0x2C6F, 1, -10783},
    {0x2C70, 0x2C70, 1, -10782}, {0x2C72, 0x2C72, 1, 1}, {0x2C75, 0x2C75, 1, 1}, {0x2C7E, 0x2C7F, 1, -10815},
    {0xA640, 0xA66C, 2, 1}, {0xA680, 0xA69A, 2, 1}, {0xA722, 0xA72E, 2, 1}, {0xA732, 0xA76E, 2, 1},
    {0xA779, 0xA77B, 2, 1}, {0xA77D, 0xA77D, 1, -35332}, {0xA77E, 0xA786, 2, 1}, {0xA78B, 0xA78B, 1, 1},
    {0xA78D, 0xA78D, 1, -42280}, {0xA790, 0xA792, 2, 1}, {0xA796, 0xA7A8, 2, 1}, {0xA7AA, 0xA7AA, 1, -42308},
    {0xA7AB, 0xA7AB, 1, -42319}, {0xA7AC, 0xA7AC, 1, -42315}, {0xA7AD, 0xA7AD, 1, -42305},
    {0xA7AE, 0xA7AE, 1, -42308}, {0xA7B0, 0xA7B0, 1, -42258}, {0xA7B1, 0xA7B1, 1, -42282},
    {0xA7B2, 0xA7B2, 1, -42261}, {0xA7B3, 0xA7B3, 1, 928}, {0xA7B4, 0xA7C2, 2, 1}, {0xA7C4, 0xA7C4, 1, -48},
    {0xA7C5, 0xA7C5, 1, -42307}, {0xA7C6, 0xA7C6, 1, -35384}, {0xA7C7, 0xA7C9, 2, 1}, {0xA7D0, 0xA7D0, 1, 1},
    {0xA7D6, 0xA7D8, 2, 1}, {0xA7F5, 0xA7F5, 1, 1}, {0xFF21, 0xFF3A, 1, 32},
};

static uint32_t fold(uint32_t point)
{
    size_t low = 0, high = sizeof folds / sizeof folds[0];

    if (point < 0x80) return point >= 'A' && point <= 'Z' ? point + 32 : point;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct fold *row = &folds[middle];
        if (point > row->last) {
            low = middle + 1;
        } else if (point < row->first) {
            high = middle;
        } else {
            if ((point - row->first) % row->step != 0) return point;
            return (uint32_t)((int32_t)point + row->delta);
        }
    }
    return point;
}

enum flaw { NO_FLAW, NOT_UTF8, HAS_CONTROL, HAS_HIDDEN, TOO_LONG, EMPTY, NO_PATH };

static const char *const member_flaws[] = {
    NULL,
    "The name is not valid UTF-8; type it again.",
    "The name has a control character in it; leave that out.",
    "The name has an invisible character in it; leave that out.",
    "The name is longer than 64 bytes; take a shorter one.",
    "The name is empty; type one.",
};

static const char *const room_flaws[] = {
    NULL,
    "The room is not valid UTF-8; type it again.",
    "The room has a control character in it; leave that out.",
    "The room has an invisible character in it; leave that out.",
    "The room is longer than 64 bytes; take a shorter one.",
    "The room is empty; type one.",
    "A room can't be . or .. and has no / or \\ in it; take another name.",
};

/* Makes TEXT canonical in *NAME, in lower case if FOLDED. Its length may still be over STORE_NAME_MAX. */
static enum flaw canonical(struct store_bytes text, int folded, struct store_name *name)
{
    size_t i, length, blank = 0;
    uint32_t point;

    name->length = 0;
    for (i = 0; i < text.length; i += length) {
        unsigned char bytes[4];
        size_t size;
        length = decode(text.at + i, text.length - i, &point);
        if (length == 0) return NOT_UTF8;
        if (is_control(point)) return HAS_CONTROL;
        if (is_hidden(point)) return HAS_HIDDEN;
        if (is_blank(point)) {
            blank = name->length > 0;
            continue;
        }
        size = encode(folded ? fold(point) : point, bytes);
        if (blank + size > sizeof name->bytes - name->length) return TOO_LONG;
        if (blank > 0) name->bytes[name->length++] = ' ';
        memcpy(name->bytes + name->length, bytes, size);
        name->length += size;
        blank = 0;
    }
    return name->length == 0 ? EMPTY : NO_FLAW;
}

/* URLs and proxies can't hold these. */
static int is_no_path(const struct store_name *name)
{
    if (name->length == 1 && name->bytes[0] == '.') return 1;
    if (name->length == 2 && memcmp(name->bytes, "..", 2) == 0) return 1;
    return memchr(name->bytes, '/', name->length) != NULL || memchr(name->bytes, '\\', name->length) != NULL;
}

enum store_result store_member_name(struct store_bytes text, struct store_name *name, const char **reason)
{
    enum flaw flaw = canonical(text, 0, name);

    if (flaw == NO_FLAW && name->length > STORE_NAME_MAX) flaw = TOO_LONG;
    *reason = member_flaws[flaw];
    return flaw == NO_FLAW ? STORE_OK : STORE_BAD;
}

enum store_result store_room_name(struct store_bytes text, struct store_name *name, const char **reason)
{
    enum flaw flaw = canonical(text, 1, name);

    if (flaw == NO_FLAW && name->length > STORE_NAME_MAX) flaw = TOO_LONG;
    if (flaw == NO_FLAW && is_no_path(name)) flaw = NO_PATH;
    *reason = room_flaws[flaw];
    return flaw == NO_FLAW ? STORE_OK : STORE_BAD;
}

/* FNV-1a */
static uint32_t hash(const unsigned char *bytes, size_t length)
{
    uint32_t sum = 2166136261U;
    size_t i;

    for (i = 0; i < length; i++) sum = (sum ^ bytes[i]) * 16777619U;
    return sum;
}

/* Folds a kept name, which is canonical: this can't fail. */
static void fold_name(const unsigned char *bytes, size_t length, struct store_name *folded)
{
    struct store_bytes text = {bytes, length};
    enum flaw flaw = canonical(text, 1, folded);

    assert(flaw == NO_FLAW);
    (void)flaw;
}

/* ---- the ring ---- */

static unsigned char ring_byte(const struct ring *ring, uint64_t at) { return ring->bytes[at % ring->size]; }

/* The bytes from AT to END that lie side by side. */
static struct store_bytes ring_span(const struct ring *ring, uint64_t at, uint64_t end)
{
    size_t place_of = (size_t)(at % ring->size);
    struct store_bytes span = {ring->bytes + place_of, ring->size - place_of};

    if (span.length > end - at) span.length = (size_t)(end - at);
    return span;
}

static void ring_copy(const struct ring *ring, uint64_t at, uint64_t end, unsigned char *to)
{
    while (at < end) {
        struct store_bytes span = ring_span(ring, at, end);
        memcpy(to, span.at, span.length);
        to += span.length;
        at += span.length;
    }
}

/* Whether AT lies between two frames. */
static int is_border(const struct ring *ring, uint64_t at)
{
    if (at == ring->tail || at == ring->head) return 1;
    return at >= ring->tail + 2 && ring_byte(ring, at - 1) == '\n' && ring_byte(ring, at - 2) == '\n';
}

/* The first border behind AT, which is < head. */
static uint64_t frame_end(const struct ring *ring, uint64_t at)
{
    for (; at < ring->head; at++) {
        struct store_bytes span = ring_span(ring, at, ring->head);
        const unsigned char *newline = memchr(span.at, '\n', span.length);
        if (newline == NULL) {
            at += span.length - 1;
            continue;
        }
        at += (uint64_t)(newline - span.at);
        if (ring_byte(ring, at - 1) == '\n') return at + 1;
    }
    return ring->head;
}

/* The start of the frame that AT, which is < head, lies in. */
static uint64_t frame_start(const struct ring *ring, uint64_t at)
{
    while (!is_border(ring, at)) at--;
    return at;
}

/* The id of the frame that begins at AT: its digits stand behind "id: ". */
static uint64_t frame_id(const struct ring *ring, uint64_t at)
{
    uint64_t id = 0;
    unsigned char digit;

    for (at += 4; (digit = ring_byte(ring, at)) != '\n'; at++) id = id * 10 + (uint64_t)(digit - '0');
    return id;
}

/* The time of the frame that begins at AT: it stands behind `,"t":`, and the first comma is that one. */
static int64_t frame_time(const struct ring *ring, uint64_t at)
{
    int64_t t = 0;
    unsigned char digit;

    while (ring_byte(ring, at) != ',') at++;
    for (at += 5; (digit = ring_byte(ring, at)) != ','; at++) t = t * 10 + (digit - '0');
    return t;
}

/* The first shown frame with an id above AFTER; `shown` if there is none. */
static uint64_t frame_after(const struct ring *ring, uint64_t after)
{
    uint64_t low = ring->tail, high = ring->shown;

    while (low < high) {
        uint64_t start = frame_start(ring, low + (high - low) / 2);
        if (frame_id(ring, start) > after) {
            high = start;
        } else {
            low = frame_end(ring, start);
        }
    }
    return low;
}

/* The bytes that a frame of ROOM has around it in the file, when it is written anew. */
static uint64_t frame_overhead(const struct store_room *room)
{
    return room->name_length + sizeof ":message 01234567 - ";
}

/* Adds FRAME; as many of the oldest go as its place needs. */
static void ring_add(struct store_room *room, const unsigned char *frame, size_t length)
{
    struct ring *ring = &room->ring;
    struct store *store = room->store;
    size_t left = length;

    assert(length <= ring->size);
    while (ring->head - ring->tail > ring->size - length) {
        uint64_t end = frame_end(ring, ring->tail);
        store->held -= end - ring->tail + frame_overhead(room);
        ring->tail = end;
    }
    store->held += length + frame_overhead(room);
    while (left > 0) {
        size_t at = (size_t)(ring->head % ring->size);
        size_t part = left < ring->size - at ? left : ring->size - at;
        memcpy(ring->bytes + at, frame + length - left, part);
        ring->head += part;
        left -= part;
    }
}

/* ---- finding rooms and members ---- */

size_t store_number(const struct store_room *room) { return (size_t)(room - room->store->rooms); }

/* ROOM has news for its readers. */
static void tell_readers(const struct store_room *room)
{
    room->store->options.changed(room->store->options.context, store_number(room));
}

static uint32_t *room_bucket(struct store *store, const unsigned char *name, size_t length)
{
    return &store->room_buckets[hash(name, length) & (store->room_bucket_count - 1)];
}

struct store_room *store_find(struct store *store, const struct store_name *name)
{
    uint32_t link = *room_bucket(store, name->bytes, name->length);

    while (link != 0) {
        struct store_room *room = &store->rooms[link - 1];
        if (room->name_length == name->length && memcmp(room->name, name->bytes, name->length) == 0) return room;
        link = room->next_room;
    }
    return NULL;
}

static place member_place(const struct store_member *member) { return (place)(member - member->room->members + 1); }

static struct store_member *member_at(const struct store_room *room, place at)
{
    return at == 0 ? NULL : &room->members[at - 1];
}

static place *name_bucket(struct store_room *room, uint32_t name_hash)
{
    return &room->by_name[name_hash & (room->store->member_bucket_count - 1)];
}

static place *key_bucket(struct store_room *room, const unsigned char key[STORE_KEY_SIZE])
{
    size_t sum = (size_t)key[0] | (size_t)key[1] << 8; /* a digest is a hash already */

    return &room->by_key[sum & (room->store->member_bucket_count - 1)];
}

struct store_member *store_member(struct store_room *room, const unsigned char key[STORE_KEY_SIZE])
{
    struct store_member *member = member_at(room, *key_bucket(room, key));

    while (member != NULL && memcmp(member->key, key, STORE_KEY_SIZE) != 0) member = member_at(room, member->same_key);
    return member;
}

/* The member of ROOM whose name is NAME without regard to case. */
static struct store_member *find_name(struct store_room *room, const struct store_name *name)
{
    struct store_name wanted, folded;
    struct store_member *member;
    uint32_t sum;

    fold_name(name->bytes, name->length, &wanted);
    sum = hash(wanted.bytes, wanted.length);
    for (member = member_at(room, *name_bucket(room, sum)); member != NULL;
         member = member_at(room, member->same_name)) {
        if (member->name_hash != sum) continue;
        fold_name(member->name, member->name_length, &folded);
        if (folded.length == wanted.length && memcmp(folded.bytes, wanted.bytes, wanted.length) == 0) return member;
    }
    return NULL;
}

static struct store_member *find_by(struct store_room *room, uint64_t by)
{
    struct store_member *member = member_at(room, room->last);

    while (member != NULL && member->by > by) member = member_at(room, member->prev);
    return member != NULL && member->by == by ? member : NULL;
}

struct store_room *store_room(const struct store_member *member) { return member->room; }

struct store_bytes store_room_called(const struct store_room *room)
{
    struct store_bytes name;

    name.at = room->name;
    name.length = room->name_length;
    return name;
}

uint64_t store_by(const struct store_member *member) { return member->by; }

struct store_bytes store_called(const struct store_member *member)
{
    struct store_bytes name;

    name.at = member->name;
    name.length = member->name_length;
    return name;
}

/* ---- making and removing rooms and members, in memory ---- */

/* A random number from LEAST to MOST (splitmix64; it need not be secret, only new at each start). */
static uint64_t draw(struct store *store, uint64_t least, uint64_t most)
{
    uint64_t z = (store->seed += 0x9E3779B97F4A7C15ULL);

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return least + (z ^ z >> 31) % (most - least + 1);
}

static void room_is_due(struct store_room *room, int64_t at_ms)
{
    if (at_ms < room->due_ms) room->due_ms = at_ms;
    if (at_ms < room->store->due_ms) room->store->due_ms = at_ms;
}

static void state_changed(struct store_room *room, struct state *state, struct store_time now)
{
    if (!state->stale) state->stale_ms = now.mono_ms;
    state->stale = 1;
    room_is_due(room, now.mono_ms);
}

/* Gives a room that is used for the first time its share of the store's memory. */
static void room_memory(struct store *store, size_t number)
{
    struct store_room *room = &store->rooms[number];
    size_t members = store->options.members, buckets = store->member_bucket_count;

    room->store = store;
    room->ring.bytes = store->all_rings + number * store->ring_size;
    room->ring.size = store->ring_size;
    room->members = store->all_members + number * members;
    room->by_name = store->all_buckets + number * 2 * buckets;
    room->by_key = room->by_name + buckets;
    room->people.text = store->all_states + number * (store->people_size + TYPING_SIZE);
    room->people.size = store->people_size;
    room->typing.text = room->people.text + store->people_size;
    room->typing.size = TYPING_SIZE;
}

/* The numbers of a new room NAME begin at random, like TCP's sequence numbers. */
static void begin_room(struct store *store, struct store_room *fresh, const struct store_name *name,
                       struct store_time now)
{
    memset(fresh, 0, sizeof *fresh);
    fresh->store = store;
    memcpy(fresh->name, name->bytes, name->length);
    fresh->name_length = name->length;
    fresh->next_id = draw(store, 1, 0x7FFFFFFF);
    fresh->next_by = draw(store, 1, 0x7FFFFFFF);
    fresh->deserted_since_ms = now.mono_ms;
}

/* A place for a room that is free, NULL if there is none. */
static struct store_room *free_place(struct store *store)
{
    struct store_room *room = store->rooms;

    while (room < store->rooms + store->rooms_used && room->name_length > 0) room++;
    return room < store->rooms + store->options.rooms ? room : NULL;
}

/* Makes a room in the free place ROOM, with the name and numbers of FRESH. */
static void add_room(struct store *store, struct store_room *room, const struct store_room *fresh,
                     struct store_time now)
{
    uint32_t *bucket = room_bucket(store, fresh->name, fresh->name_length);

    assert(room->name_length == 0);
    if (room == store->rooms + store->rooms_used) room_memory(store, store->rooms_used++);
    memcpy(room->name, fresh->name, fresh->name_length);
    room->name_length = fresh->name_length;
    room->next_id = fresh->next_id;
    room->next_by = fresh->next_by;
    room->last_t = 0;
    room->speakers = 0;
    room->deserted_since_ms = now.mono_ms;
    room->deserted_ms = 0;
    room->next_room = *bucket;
    *bucket = (uint32_t)store_number(room) + 1;
    room->due_ms = room->lapse_ms = INT64_MAX;
    room->states_ms = now.mono_ms;
    state_changed(room, &room->people, now);
    state_changed(room, &room->typing, now);
    store->held += ROOM_RECORD_MAX;
}

static void unlink_place(struct store_room *room, place *link, place at, int name)
{
    while (*link != at) {
        struct store_member *member = member_at(room, *link);
        link = name ? &member->same_name : &member->same_key;
    }
    *link = name ? member_at(room, at)->same_name : member_at(room, at)->same_key;
}

static void set_name(struct store_member *member, const struct store_name *name)
{
    struct store_name folded;
    place *bucket;

    fold_name(name->bytes, name->length, &folded);
    memcpy(member->name, name->bytes, name->length);
    member->name_length = (unsigned char)name->length;
    member->name_hash = hash(folded.bytes, folded.length);
    bucket = name_bucket(member->room, member->name_hash);
    member->same_name = *bucket;
    *bucket = member_place(member);
}

static void set_key(struct store_member *member, const unsigned char key[STORE_KEY_SIZE])
{
    place *bucket = key_bucket(member->room, key);

    memcpy(member->key, key, STORE_KEY_SIZE);
    member->same_key = *bucket;
    *bucket = member_place(member);
}

/* Links MEMBER in by its `by`: at the end, but for what a damaged file can ask for. */
static void link_member(struct store_room *room, struct store_member *member)
{
    place at = member_place(member);

    member->prev = room->last;
    while (member->prev != 0 && member_at(room, member->prev)->by > member->by) {
        member->prev = member_at(room, member->prev)->prev;
    }
    member->next = member->prev != 0 ? member_at(room, member->prev)->next : room->first;
    if (member->prev != 0) member_at(room, member->prev)->next = at; else room->first = at;
    if (member->next != 0) member_at(room, member->next)->prev = at; else room->last = at;
}

/* Makes the member BY of ROOM in a free place; there must be one. */
static struct store_member *add_member(struct store_room *room, uint64_t by, const struct store_name *name,
                                       const unsigned char key[STORE_KEY_SIZE], struct store_time now)
{
    struct store_member *member;

    assert(room->count < room->store->options.members);
    if (room->free != 0) {
        member = member_at(room, room->free);
        room->free = member->next;
    } else {
        member = &room->members[room->fresh++];
    }
    memset(member, 0, sizeof *member);
    member->room = room;
    member->by = by;
    member->absent_since_ms = now.mono_ms;
    link_member(room, member);
    set_name(member, name);
    set_key(member, key);
    room->count++;
    if (by >= room->next_by) room->next_by = by + 1;
    room->store->held += MEMBER_RECORD_MAX;
    return member;
}

static void drop_typer(struct store_room *room, size_t i, struct store_time now)
{
    room->typer_count--;
    memmove(&room->typers[i], &room->typers[i + 1], (room->typer_count - i) * sizeof room->typers[0]);
    state_changed(room, &room->typing, now);
}

static void stop_typing(struct store_member *member, struct store_time now)
{
    struct store_room *room = member->room;
    size_t i;

    for (i = 0; i < room->typer_count && room->typers[i].by != member->by; i++) continue;
    if (i < room->typer_count) drop_typer(room, i, now);
}

static void has_gone(struct store_member *member, struct store_time now)
{
    struct store_room *room = member->room;

    if (!member->is_here) return;
    member->is_here = 0;
    member->absent_since_ms = now.mono_ms;
    member->absent_ms = 0;
    room->store->here--;
    if (--room->here == 0) {
        room->deserted_since_ms = now.mono_ms;
        room->deserted_ms = 0;
    }
    state_changed(room, &room->people, now);
}

static void remove_member(struct store_member *member, struct store_time now)
{
    struct store_room *room = member->room;
    place at = member_place(member);

    stop_typing(member, now);
    has_gone(member, now);
    unlink_place(room, name_bucket(room, member->name_hash), at, 1);
    unlink_place(room, key_bucket(room, member->key), at, 0);
    if (member->next != 0) member_at(room, member->next)->prev = member->prev;
    if (member->prev != 0) member_at(room, member->prev)->next = member->next;
    if (room->first == at) room->first = member->next;
    if (room->last == at) room->last = member->prev;
    member->by = 0;
    member->next = room->free;
    room->free = at;
    room->count--;
    room->store->held -= MEMBER_RECORD_MAX;
    tell_readers(room);
}

/* Removes ROOM. Its readers and versions and offsets stay, so that no cursor takes the next room for this one. */
static void remove_room(struct store_room *room, struct store_time now)
{
    struct store *store = room->store;
    uint32_t *link = room_bucket(store, room->name, room->name_length);
    uint64_t at = room->ring.tail;

    while (room->first != 0) remove_member(member_at(room, room->first), now);
    for (; at < room->ring.head; at = frame_end(&room->ring, at)) store->held -= frame_overhead(room);
    store->held -= room->ring.head - room->ring.tail + ROOM_RECORD_MAX;
    room->ring.tail = room->ring.shown = room->ring.head;
    while (*link != store_number(room) + 1) link = &store->rooms[*link - 1].next_room;
    *link = room->next_room;
    room->name_length = 0;
    room->due_ms = INT64_MAX;
}

/* ---- records out ---- */

static void tell(struct store *store, const char *format, ...)
{
    char sentence[STORE_REASON_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments); /* cut if too long */
    va_end(arguments);
    store->options.tell(store->options.context, sentence);
}

/* table[n][byte]: what a byte does to the sum when n more are behind it. */
static void make_crc_table(uint32_t table[8][256])
{
    uint32_t i, bit;

    for (i = 0; i < 256; i++) {
        table[0][i] = i;
        for (bit = 0; bit < 8; bit++) table[0][i] = table[0][i] >> 1 ^ (table[0][i] & 1 ? 0xEDB88320U : 0);
    }
    for (i = 256; i < 8 * 256; i++) {
        uint32_t before = table[i / 256 - 1][i % 256];
        table[i / 256][i % 256] = before >> 8 ^ table[0][before & 0xFF];
    }
}

static uint32_t word_at(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* CRC-32 (ISO-HDLC, as in gzip and PNG), eight bytes at a time. */
static uint32_t crc(const struct store *store, const unsigned char *bytes, size_t length)
{
    const uint32_t(*table)[256] = store->crc_table;
    uint32_t sum = 0xFFFFFFFFU;

    for (; length >= 8; length -= 8, bytes += 8) {
        uint32_t next = word_at(bytes + 4);
        sum ^= word_at(bytes);
        sum = table[7][sum & 0xFF] ^ table[6][sum >> 8 & 0xFF] ^ table[5][sum >> 16 & 0xFF] ^ table[4][sum >> 24] ^
              table[3][next & 0xFF] ^ table[2][next >> 8 & 0xFF] ^ table[1][next >> 16 & 0xFF] ^ table[0][next >> 24];
    }
    for (; length > 0; length--, bytes++) sum = sum >> 8 ^ table[0][(sum ^ *bytes) & 0xFF];
    return ~sum;
}

/* Begins a record of KIND (":room ", its blank with it). Returns where its sum belongs. */
static size_t begin_record(struct out *out, const char *kind)
{
    put(out, kind);
    put(out, "00000000 ");
    return out->length - 9;
}

static void end_record(struct store *store, struct out *out, size_t sum_at)
{
    struct out sum = {out->bytes + sum_at, 8, 0};
    size_t start = sum_at + 9;

    put_hex(&sum, crc(store, out->bytes + start, out->length - start), 8);
}

/* The room that a record is about ends its line. */
static void put_room(struct out *out, const struct store_room *room) { put_bytes(out, room->name, room->name_length); }

static int64_t deserted(const struct store_room *room, struct store_time now)
{
    return room->here > 0 ? 0 : room->deserted_ms + (now.mono_ms - room->deserted_since_ms);
}

static int64_t absence(const struct store_member *member, struct store_time now)
{
    return member->is_here ? 0 : member->absent_ms + (now.mono_ms - member->absent_since_ms);
}

static void put_room_record(struct out *out, const struct store_room *room, struct store_time now)
{
    size_t sum_at = begin_record(out, ":room ");

    put_number(out, room->next_id);
    put_byte(out, ' ');
    put_number(out, room->next_by);
    put_byte(out, ' ');
    put_time(out, room->last_t);
    put_byte(out, ' ');
    put_number(out, room->speakers);
    put_byte(out, ' ');
    put_time(out, deserted(room, now));
    put_byte(out, ' ');
    put_room(out, room);
    put(out, "\n\n");
    end_record(room->store, out, sum_at);
}

/* The nonces of MEMBER, the oldest first. */
static void put_nonces(struct out *out, const struct store_member *member)
{
    size_t i, count = 0;

    for (i = 0; i < NONCES_MAX; i++) {
        const struct nonce *nonce = &member->nonces[(member->nonce_next + i) % NONCES_MAX];
        if (nonce->digest == 0) continue;
        if (count++ > 0) put_byte(out, ',');
        put_hex(out, nonce->digest, 16);
        put_byte(out, '@');
        put_number(out, nonce->id);
        put_byte(out, '@');
        put_time(out, nonce->t);
    }
    if (count == 0) put_byte(out, '-');
}

/* MEMBER as it is, but called NAME. */
static void put_member_record(struct out *out, const struct store_member *member, struct store_bytes name,
                              struct store_time now)
{
    size_t i, sum_at = begin_record(out, ":member ");

    put_number(out, member->by);
    put_byte(out, ' ');
    put_number(out, member->said);
    put_byte(out, ' ');
    put_time(out, absence(member, now));
    put_byte(out, ' ');
    for (i = 0; i < STORE_KEY_SIZE; i++) put_hex(out, member->key[i], 2);
    put_byte(out, ' ');
    put_nonces(out, member);
    put_byte(out, ' ');
    put_room(out, member->room);
    put_byte(out, '/');
    put_bytes(out, name.at, name.length);
    put(out, "\n\n");
    end_record(member->room->store, out, sum_at);
}

static void put_gone_record(struct out *out, const struct store_member *member)
{
    size_t sum_at = begin_record(out, ":gone ");

    put_number(out, member->by);
    put_byte(out, ' ');
    put_room(out, member->room);
    put(out, "\n\n");
    end_record(member->room->store, out, sum_at);
}

static void put_end_record(struct out *out, const struct store_room *room)
{
    size_t sum_at = begin_record(out, ":end ");

    put_room(out, room);
    put(out, "\n\n");
    end_record(room->store, out, sum_at);
}

/* Begins the record of a message in ROOM: its frame must follow. */
static size_t begin_message(struct out *out, const struct store_room *room, uint64_t digest)
{
    size_t sum_at = begin_record(out, ":message ");

    if (digest != 0) put_hex(out, digest, 16); else put_byte(out, '-');
    put_byte(out, ' ');
    put_room(out, room);
    put_byte(out, '\n');
    return sum_at;
}

/* ---- the file ---- */

/* A fault is told when it begins and when it ends. */
static void set_fault(struct store *store, int error)
{
    if (error != 0 && store->fault == 0) {
        tell(store, "%s can't be written (%s): nothing new is taken until it can.", store->path, strerror(error));
    }
    if (error == 0 && store->fault != 0) tell(store, "%s can be written again.", store->path);
    store->fault = error;
    errno = error;
}

/* Likewise for a rewrite: without one the file only grows. */
static void set_rewrite_fault(struct store *store, int error)
{
    if (error != 0 && store->rewrite_fault == 0) {
        tell(store, "%s can't be written anew (%s): it grows until it can.", store->path, strerror(error));
    }
    if (error == 0 && store->rewrite_fault != 0) tell(store, "%s is written anew again.", store->path);
    store->rewrite_fault = error;
    errno = error;
}

static int write_all(int fd, const unsigned char *bytes, size_t length)
{
    ssize_t written;

    do written = disk.write(fd, bytes, length);
    while (written < 0 && errno == EINTR);
    if (written >= 0 && (size_t)written < length) errno = ENOSPC; /* a short write is a full disk */
    return written >= 0 && (size_t)written == length ? 0 : -1;
}

/* Cuts off what a failed write may have left behind. */
static int cut_torn(struct store *store)
{
    if (store->torn && disk.ftruncate(store->fd, (off_t)store->size) == 0) store->torn = 0;
    return store->torn ? -1 : 0;
}

/* Gives the rewrite up; another follows. */
static void abandon_rewrite(struct store *store, struct store_time now)
{
    (void)disk.close(store->rewrite.fd); /* what it holds is thrown away */
    (void)disk.unlink(store->new_path);  /* the next rewrite does, if it stays */
    store->rewrite.fd = -1;
    store->rewrite.is_syncing = 0;
    store->behind = 1;
    store->retry_ms = now.mono_ms + RETRY_MS;
}

/* Whether a rewrite that goes on has already copied what is appended for ROOM now. */
static int is_copied(const struct store *store, const struct store_room *room)
{
    const struct rewrite *rewrite = &store->rewrite;
    size_t number = (size_t)(room - store->rooms);

    return rewrite->fd >= 0 && (number < rewrite->room || (number == rewrite->room && rewrite->phase == MEMBERS));
}

/* Why nothing may be written to the file before it is written anew; 0: it may. */
static int why_shut(const struct store *store)
{
    if (store->is_kept) return store->rewrite_fault;
    return store->options.sync == STORE_SYNC_ALWAYS ? store->lost : 0;
}

/* Appends the batch to the file by one write(). Returns 0, or errno: the file is as before. */
static int append_to_file(struct store *store)
{
    int error = why_shut(store);

    if (error != 0) return error;
    if (cut_torn(store) != 0 || write_all(store->fd, store->batch.bytes, store->batch.length) != 0) {
        error = errno;
        store->torn = 1;
        (void)cut_torn(store); /* else before the next write */
        return error;
    }
    store->size += store->batch.length;
    return 0;
}

/* Appends the batch to the copy that a rewrite makes. */
static void append_to_copy(struct store *store, struct store_time now)
{
    int error;

    if (write_all(store->rewrite.fd, store->batch.bytes, store->batch.length) == 0) {
        store->rewrite.size += store->batch.length;
        return;
    }
    error = errno;
    abandon_rewrite(store, now);
    set_rewrite_fault(store, error);
}

/* Writes the batch, which is about ROOM. On failure nothing has changed, and errno is set. With STORE_SYNC_EXIT it is
 * in memory alone until a rewrite. */
static int append(struct store *store, const struct store_room *room, struct store_time now)
{
    int is_kept_back = store->options.sync == STORE_SYNC_EXIT, error = is_kept_back ? 0 : append_to_file(store);

    set_fault(store, error);
    if (error != 0) return -1;
    store->written++;
    if (store->unsynced_ms < 0 && !is_kept_back) store->unsynced_ms = now.mono_ms;
    if (is_copied(store, room)) append_to_copy(store, now);
    return 0;
}

/* ---- fsync ---- */

/* Opens by name what is to be fsynced: a descriptor would be that of an older file after a rewrite. Returns errno. */
static int sync_path(const char *path, int flags)
{
    int error = 0, fd = disk.open(path, flags | O_CLOEXEC, 0);

    if (fd < 0) return errno;
    while (disk.fsync(fd) != 0 && (error = errno) == EINTR) error = 0;
    (void)disk.close(fd);
    return error;
}

/* Does a round. What can't be done to a folder on some systems at all is no fault. */
static void sync_targets(const struct store *store, int round, int errors[SYNC_TARGETS])
{
    memset(errors, 0, SYNC_TARGETS * sizeof errors[0]);
    if (round & SYNC_FILE) errors[0] = sync_path(store->path, O_WRONLY);
    if (round & SYNC_NEW) errors[1] = sync_path(store->new_path, O_WRONLY);
    if (round & SYNC_FOLDER) errors[2] = sync_path(store->folder, O_RDONLY);
    if (errors[2] == EACCES || errors[2] == EISDIR || errors[2] == EINVAL || errors[2] == EBADF) errors[2] = 0;
}

/* The child's life: it ends when the pipe does, whatever signals the terminal sends to all. When a new file is synced it
 * keeps the old one open over the next round: who closes a large file last waits until its blocks are free. */
static void serve_syncs(const struct store *store, int ask_fd, int answer_fd)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
    int errors[SYNC_TARGETS], old_fd = -1, fd;
    unsigned char round;
    ssize_t count;
    size_t i;

    for (i = 0; i < sizeof signals / sizeof signals[0]; i++) (void)signal(signals[i], SIG_IGN); /* these can be */
    for (;;) {
        do count = disk.read(ask_fd, &round, 1);
        while (count < 0 && errno == EINTR);
        if (count != 1) _exit(0);
        sync_targets(store, round, errors);
        fd = round & SYNC_NEW ? disk.open(store->path, O_WRONLY | O_CLOEXEC, 0) : -1;
        do count = disk.write(answer_fd, errors, sizeof errors);
        while (count < 0 && errno == EINTR);
        if (count != (ssize_t)sizeof errors) _exit(1);
        if (old_fd >= 0) (void)disk.close(old_fd);
        old_fd = fd;
    }
}

static void close_pipe(int fds[2])
{
    (void)disk.close(fds[0]);
    (void)disk.close(fds[1]);
}

/* Forks the child, while there is little to copy and no socket or lock to hold. Returns -1 with errno. */
static int fork_syncer(struct store *store)
{
    int asks[2], answers[2], error, fd;

    if (disk.pipe(asks) != 0) return -1;
    if (disk.pipe(answers) != 0) goto no_answers;
    if (fcntl(answers[0], F_SETFL, O_NONBLOCK) != 0) goto no_child;
    store->syncer.pid = disk.fork();
    if (store->syncer.pid < 0) goto no_child;
    if (store->syncer.pid == 0) {
        for (fd = STDERR_FILENO + 1; fd < asks[0]; fd++) (void)disk.close(fd); /* the server's, or passed to it */
        (void)disk.close(asks[1]);
        (void)disk.close(answers[0]);
        serve_syncs(store, asks[0], answers[1]);
    }
    (void)disk.close(asks[0]);
    (void)disk.close(answers[1]);
    store->syncer.ask_fd = asks[1];
    store->syncer.answer_fd = answers[0];
    return 0;
no_child:
    error = errno;
    close_pipe(answers);
    errno = error;
no_answers:
    error = errno;
    close_pipe(asks);
    errno = error;
    return -1;
}

static void start_syncer(struct store *store)
{
    if (fork_syncer(store) != 0) {
        tell(store, "there can't be a process for fsync (%s): everyone waits while the disk does.", strerror(errno));
    }
}

/* The child ends when it has done what it was asked for, which is waited for. */
static void stop_syncer(struct store *store)
{
    struct syncer *syncer = &store->syncer;

    if (syncer->pid < 0) return;
    (void)disk.close(syncer->ask_fd);
    while (disk.waitpid(syncer->pid, NULL, 0) < 0 && errno == EINTR) continue;
    (void)disk.close(syncer->answer_fd);
    syncer->pid = syncer->ask_fd = syncer->answer_fd = -1;
}

/* Asks the child for the round. Returns -1 if it can't be asked. */
static int ask_syncer(struct store *store)
{
    unsigned char round = (unsigned char)store->round;
    ssize_t count;

    if (!store->is_running || store->syncer.pid < 0) return -1;
    do count = disk.write(store->syncer.ask_fd, &round, 1);
    while (count < 0 && errno == EINTR);
    return count == 1 ? 0 : -1; /* it has died: store_synced will see */
}

/* What was written before the round began is shown. */
static void show_asked(struct store *store)
{
    uint32_t *link = &store->unshown;

    while (*link != 0) {
        struct store_room *room = &store->rooms[*link - 1];
        if (room->asked > room->ring.shown) {
            room->ring.shown = room->asked;
            tell_readers(room);
        }
        if (room->ring.shown < room->ring.head) {
            link = &room->next_unshown;
            continue;
        }
        *link = room->next_unshown;
        room->is_unshown = 0;
    }
}

/* After a failed fsync nobody knows what the disk has of the file (a second one may well succeed): it is written
 * anew, soon the first time; what fails again and again is told once, and must not wear the disk out. */
static void lose_file(struct store *store, int error, struct store_time now)
{
    if (!store->is_lost_again) {
        tell(store, "%s could not be synced (%s): it counts as lost and is written anew.", store->path,
             strerror(error));
    }
    store->lost = error;
    store->behind = 1;
    store->retry_ms = now.mono_ms + (store->is_lost_again ? RETRY_MS : LOST_MS);
    store->is_lost_again = 1;
    if (store->options.sync == STORE_SYNC_ALWAYS) set_fault(store, error);
}

/* Copies the file to kept_path, which must be new. Returns -1 with errno. */
static int copy_file(struct store *store)
{
    int error, from, to = disk.open(store->kept_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t count = -1;

    if (to < 0) return -1;
    from = disk.open(store->path, O_RDONLY | O_CLOEXEC, 0);
    while (from >= 0) {
        do count = disk.read(from, store->batch.bytes, store->batch.size);
        while (count < 0 && errno == EINTR);
        if (count <= 0) break;
        count = write_all(to, store->batch.bytes, (size_t)count);
        if (count < 0) break;
    }
    error = errno;
    if (from >= 0) (void)disk.close(from);
    (void)disk.close(to);
    if (count < 0) (void)disk.unlink(store->kept_path);
    errno = error;
    return (int)count;
}

/* Keeps the damaged file as FILE.damaged-N, the first N that is free: a link, or where there are none (FAT) a copy.
 * Returns -1 if that can't be. */
static int keep_damaged(struct store *store)
{
    unsigned n = 0;
    int result;

    do {
        (void)sprintf(store->kept_path, "%s.damaged-%u", store->path, ++n);
        result = disk.link(store->path, store->kept_path);
        if (result != 0 && errno != EEXIST) result = copy_file(store);
    } while (result != 0 && errno == EEXIST && n < KEPT_MAX);
    if (result == 0) tell(store, "the damaged file is kept as %s.", store->kept_path);
    else tell(store, "the damaged file could not be kept beside (%s).", strerror(errno));
    return result;
}

/* A rewrite's file is whole and synced: it takes the old one's place. All that the old one has is in it. */
static int finish_rewrite(struct store *store)
{
    struct rewrite *rewrite = &store->rewrite;

    if (store->is_to_keep) (void)keep_damaged(store);
    store->is_to_keep = 0;
    if (disk.rename(store->new_path, store->path) != 0) return -1;
    (void)disk.close(store->fd);
    store->fd = rewrite->fd;
    store->size = rewrite->size;
    store->torn = store->is_kept = store->lost = store->behind = 0;
    store->is_renamed = 1;
    rewrite->fd = -1;
    rewrite->is_syncing = 0;
    set_fault(store, 0);
    set_rewrite_fault(store, 0);
    return 0;
}

static int is_whole(const struct store *store)
{
    return store->rewrite.fd >= 0 && store->rewrite.room == store->rooms_used;
}

/* Whether the copy goes on only behind an fsync: it is whole, or so much of it is not synced that the loop would wait. */
static int awaits_sync(const struct store *store)
{
    const struct rewrite *rewrite = &store->rewrite;

    return is_whole(store) || (rewrite->fd >= 0 && rewrite->unsynced >= REWRITE_SYNC && store->is_running);
}

/* The new file's fsync is over. If it did not have all of it, or a room was made meanwhile, the rewrite goes on. */
static void end_rewrite_round(struct store *store, int error, struct store_time now)
{
    store->rewrite.is_syncing = 0;
    if (error == 0 && (!is_whole(store) || store->rewrite.unsynced > 0)) return;
    if (error == 0 && finish_rewrite(store) == 0) return;
    if (error == 0) error = errno;
    abandon_rewrite(store, now);
    set_rewrite_fault(store, error);
}

static void end_round(struct store *store, const int errors[SYNC_TARGETS], struct store_time now)
{
    int round = store->round, error = errors[0] != 0 ? errors[0] : errors[2];

    store->round = 0;
    if (store->lost != 0) error = 0; /* that is told, and a new file on its way */
    else if (error != 0) lose_file(store, error, now);
    else if (round & (SYNC_FILE | SYNC_FOLDER)) store->is_lost_again = 0;
    if (round & SYNC_FOLDER) store->is_renamed = 0; /* or there will be another name */
    if (round & SYNC_NEW && store->rewrite.is_syncing) end_rewrite_round(store, errors[1], now);
    if (error != 0 || store->round_mark <= store->synced_mark) return;
    store->synced_mark = store->round_mark;
    show_asked(store);
    store->options.synced(store->options.context);
}

/* Has everything fsynced that was written and is not yet. What is written from now on is the next round's. */
static void begin_round(struct store *store, struct store_time now)
{
    int errors[SYNC_TARGETS];
    uint32_t link = store->unshown;

    if (store->unsynced_ms >= 0) store->round |= SYNC_FILE; /* a lost one too: what comes now may well last */
    store->rewrite.is_syncing = awaits_sync(store);
    if (store->rewrite.is_syncing) {
        store->round |= SYNC_NEW;
        store->rewrite.unsynced = 0;
    }
    if (store->is_renamed) store->round |= SYNC_FOLDER;
    store->unsynced_ms = -1;
    store->round_mark = store->lost == 0 ? store->written : store->synced_mark; /* of a lost file nothing lasts */
    for (; link != 0 && store->lost == 0; link = store->rooms[link - 1].next_unshown) {
        store->rooms[link - 1].asked = store->rooms[link - 1].ring.head;
    }
    if (ask_syncer(store) == 0) return;
    sync_targets(store, store->round, errors);
    end_round(store, errors, now);
}

/* When the next round is due; INT64_MAX: one goes on, or there is nothing for it. */
static int64_t round_ms(const struct store *store)
{
    if (store->round != 0) return INT64_MAX;
    if (awaits_sync(store) || store->is_renamed) return 0;
    if (store->unsynced_ms < 0) return INT64_MAX;
    return store->unsynced_ms + (store->options.sync == STORE_SYNC_ALWAYS ? 0 : SYNC_MS);
}

void store_synced(struct store *store, struct store_time now)
{
    int errors[SYNC_TARGETS], i;
    ssize_t count;

    do count = disk.read(store->syncer.answer_fd, errors, sizeof errors);
    while (count < 0 && errno == EINTR);
    if (count < 0 && errno == EAGAIN) return;
    if (count != (ssize_t)sizeof errors) { /* it was killed */
        tell(store, "the process for fsync has ended: everyone waits while the disk works.");
        stop_syncer(store);
        for (i = 0; i < SYNC_TARGETS; i++) errors[i] = store->round >> i & 1 ? EIO : 0; /* see lose_file */
    }
    if (store->round != 0) end_round(store, errors, now);
}

/* ---- rewrite ---- */

void store_rewrite(struct store *store, struct store_time now)
{
    struct rewrite *rewrite = &store->rewrite;

    if (rewrite->fd >= 0) return;
    (void)disk.unlink(store->new_path); /* what a crash left; else open says so */
    rewrite->fd = disk.open(store->new_path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (rewrite->fd < 0) {
        store->behind = 1;
        store->retry_ms = now.mono_ms + RETRY_MS;
        set_rewrite_fault(store, errno);
        return;
    }
    rewrite->room = 0;
    rewrite->phase = FRAMES;
    rewrite->at = 0;
    rewrite->by = 0;
    rewrite->size = 0;
    rewrite->unsynced = 0;
    rewrite->is_syncing = 0;
}

/* ROOM, of which a rewrite may have copied a part, is about to end: its copy ends too. */
static void end_copy(struct store *store, struct store_room *room, struct store_time now)
{
    struct rewrite *rewrite = &store->rewrite;

    if (rewrite->fd < 0 || rewrite->room != store_number(room) || rewrite->phase != FRAMES || rewrite->at == 0) return;
    rewrite->at = 0;
    store->batch.length = 0;
    put_end_record(&store->batch, room);
    append_to_copy(store, now);
}

/* Puts the frames of ROOM from the rewrite's place on into the batch, until it is full. */
static void copy_frames(struct store *store, const struct store_room *room)
{
    struct rewrite *rewrite = &store->rewrite;
    const struct ring *ring = &room->ring;
    struct out *batch = &store->batch;

    if (rewrite->at > 0 && rewrite->at < ring->tail) put_end_record(batch, room); /* overtaken: no hole, but anew */
    if (rewrite->at < ring->tail) rewrite->at = ring->tail;
    while (rewrite->at < ring->head && batch->size - batch->length >= RECORD_MAX) {
        uint64_t end = frame_end(ring, rewrite->at);
        size_t sum_at = begin_message(batch, room, 0);
        ring_copy(ring, rewrite->at, end, batch->bytes + batch->length);
        batch->length += (size_t)(end - rewrite->at);
        end_record(store, batch, sum_at);
        rewrite->at = end;
    }
    if (rewrite->at < ring->head) return;
    rewrite->phase = MEMBERS;
    rewrite->by = 0;
}

/* Likewise its members, then its numbers. They come behind the frames, and the numbers behind what is appended
 * meanwhile, because they already count it. */
static void copy_members(struct store *store, struct store_room *room, struct store_time now)
{
    struct rewrite *rewrite = &store->rewrite;
    struct store_member *member = member_at(room, room->first);
    struct out *batch = &store->batch;

    while (member != NULL && member->by <= rewrite->by) member = member_at(room, member->next);
    while (member != NULL && batch->size - batch->length >= MEMBER_RECORD_MAX) {
        put_member_record(batch, member, store_called(member), now);
        rewrite->by = member->by;
        member = member_at(room, member->next);
    }
    if (member != NULL || batch->size - batch->length < ROOM_RECORD_MAX) return;
    put_room_record(batch, room, now);
    rewrite->room++;
    rewrite->phase = FRAMES;
    rewrite->at = 0;
}

/* Goes on with the rewrite by a slice. */
static void step_rewrite(struct store *store, struct store_time now)
{
    struct rewrite *rewrite = &store->rewrite;
    uint64_t start = rewrite->size;

    while (rewrite->fd >= 0 && !awaits_sync(store) && rewrite->size - start < REWRITE_SLICE) {
        struct store_room *room = &store->rooms[rewrite->room];
        store->batch.length = 0;
        if (room->name_length == 0) {
            rewrite->room++;
            continue;
        }
        if (rewrite->phase == FRAMES) copy_frames(store, room);
        else copy_members(store, room, now);
        if (store->batch.length == 0) continue;
        append_to_copy(store, now);
        rewrite->unsynced += store->batch.length;
    }
}

/* Waits for a rewrite that goes on, and for all fsyncs: at the start and at the end. */
static void settle(struct store *store, struct store_time now)
{
    while (store->rewrite.fd >= 0) {
        if (is_whole(store)) begin_round(store, now); else step_rewrite(store, now);
    }
    if (round_ms(store) != INT64_MAX) begin_round(store, now);
}

/* A rewrite is due if the file lacks something, or has grown to twice what is held. */
static int wants_rewrite(const struct store *store, struct store_time now)
{
    if (store->rewrite.fd >= 0 || now.mono_ms < store->retry_ms) return 0;
    if (store->options.sync == STORE_SYNC_EXIT) return store->behind; /* what it was told to write and could not */
    return store->behind || (store->size > REWRITE_MIN && store->size > 2 * store->held);
}

/* ---- people and typing ---- */

static void put_person(struct out *out, const struct store_member *member)
{
    put(out, "{\"by\":");
    put_number(out, member->by);
    put(out, ",\"name\":\"");
    put_escaped(out, member->name, member->name_length);
    put(out, "\"}");
}

static void write_people(struct store_room *room)
{
    struct out out = {room->people.text, room->people.size, 0};
    struct store_member *member = member_at(room, room->first);
    size_t count = 0;

    put(&out, "event: people\ndata: {\"here\":");
    put_number(&out, room->here);
    put(&out, ",\"people\":[");
    for (; member != NULL && count < PEOPLE_MAX && count < room->here; member = member_at(room, member->next)) {
        if (!member->is_here) continue;
        if (out.size - out.length < PERSON_MAX + sizeof "]}\n\n") break;
        if (count++ > 0) put_byte(&out, ',');
        put_person(&out, member);
    }
    put(&out, "]}\n\n");
    room->people.length = out.length;
}

static void write_typing(struct store_room *room)
{
    struct out out = {room->typing.text, room->typing.size, 0};
    size_t i;

    put(&out, "event: typing\ndata: [");
    for (i = 0; i < room->typer_count; i++) {
        struct store_member *member = member_at(room, room->typers[i].member);
        if (i > 0) put_byte(&out, ',');
        put_byte(&out, '"');
        put_escaped(&out, member->name, member->name_length);
        put_byte(&out, '"');
    }
    put(&out, "]\n\n");
    room->typing.length = out.length;
}

/* Writes a stale state anew. Who stands inside the old text finds another version. */
static void write_state(struct store_room *room, struct state *state)
{
    if (state == &room->people) write_people(room); else write_typing(room);
    state->version++;
    state->inside = 0;
    state->stale = 0;
}

/* How long a state of this size, for so many readers, must be apart from the last. */
static int64_t state_interval(const struct store_room *room, const struct state *state)
{
    uint64_t ms = (uint64_t)state->length * room->readers * 1000 / STATE_BYTES_PER_S;

    return ms > STATE_INTERVAL_MS ? (int64_t)ms : STATE_INTERVAL_MS;
}

/* Announces STATE if it is time; else the room is due then. Returns whether it did. */
static int announce(struct store_room *room, struct state *state, struct store_time now)
{
    int64_t from_ms = room->states_ms;

    if (!state->stale && state->announced == state->version) return 0;
    if (state->stale && state->inside > 0 && from_ms < state->stale_ms + STATE_STALE_MS) {
        from_ms = state->stale_ms + STATE_STALE_MS;
    }
    if (now.mono_ms < from_ms) {
        room_is_due(room, from_ms);
        return 0;
    }
    if (state->stale) write_state(room, state);
    state->announced = state->version;
    room->states_ms = now.mono_ms + state_interval(room, state);
    room->is_typing_next = state == &room->people;
    return 1;
}

/* People and typing share the rate: who came last waits for the other. */
static int announce_states(struct store_room *room, struct store_time now)
{
    struct state *first = room->is_typing_next ? &room->typing : &room->people;
    struct state *second = room->is_typing_next ? &room->people : &room->typing;
    int is_news = announce(room, first, now);

    return announce(room, second, now) || is_news;
}

static void expire_typing(struct store_room *room, struct store_time now)
{
    size_t i = 0;

    while (i < room->typer_count) {
        if (room->typers[i].until_ms <= now.mono_ms) {
            drop_typer(room, i, now);
        } else {
            room_is_due(room, room->typers[i++].until_ms);
        }
    }
}

static void may_lapse(struct store_room *room, int64_t at_ms)
{
    if (at_ms < room->lapse_ms) room->lapse_ms = at_ms;
    room_is_due(room, room->lapse_ms);
}

static void notice_gone(struct store_room *room, struct store_time now)
{
    struct store_member *member = member_at(room, room->first);

    if (now.mono_ms < room->lapse_ms) {
        room_is_due(room, room->lapse_ms);
        return;
    }
    room->lapse_ms = INT64_MAX;
    for (; member != NULL; member = member_at(room, member->next)) {
        if (!member->is_here || member->waits > 0) continue;
        if (member->here_until_ms <= now.mono_ms) has_gone(member, now);
        else may_lapse(room, member->here_until_ms);
    }
}

static void tick_room(struct store_room *room, struct store_time now)
{
    room->due_ms = INT64_MAX;
    expire_typing(room, now);
    notice_gone(room, now);
    if (announce_states(room, now)) tell_readers(room);
}

/* ---- members ---- */

static int64_t wait_us(const struct store_bucket *bucket, struct store_rate rate, int64_t cost, int64_t now_us,
                       int64_t *full_us)
{
    int64_t token_us = rate.period_s * 1000000 / rate.tokens; /* 0, no limit, above a million a second */

    if (cost > rate.tokens) cost = rate.tokens; /* else it could never be had */
    *full_us = (bucket->full_us > now_us ? bucket->full_us : now_us) + cost * token_us;
    return *full_us - now_us - rate.tokens * token_us;
}

enum store_result store_spend(struct store_bucket *bucket, struct store_rate rate, int64_t cost, struct store_time now,
                              int64_t *wait_ms)
{
    int64_t full_us, wait;

    if (rate.tokens == 0) return STORE_OK;
    wait = wait_us(bucket, rate, cost, now.mono_ms * 1000, &full_us);
    *wait_ms = wait > 0 ? (wait + 999) / 1000 : 0;
    if (wait > 0) return STORE_BUSY;
    bucket->full_us = full_us;
    return STORE_OK;
}

/* Whether the name of MEMBER may be given to another. */
static int is_over(const struct store_member *member, struct store_time now)
{
    int64_t hold_ms = member->room->store->options.hold_ms;

    if (member->said == 0 && hold_ms > SILENT_HOLD_MS) hold_ms = SILENT_HOLD_MS;
    return !member->is_here && absence(member, now) >= hold_ms;
}

/* The room that gives way to a new one, NULL if none does. */
static struct store_room *room_to_end(struct store *store, struct store_time now)
{
    struct store_room *room, *slight = NULL, *old = NULL;

    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        int64_t since_ms = deserted(room, now);
        if (room->count == 0 && room->ring.tail == room->ring.head) return room;
        if (room->here > 0) continue;
        if (room->speakers <= 1 && since_ms >= DESERTED_MS && (slight == NULL || since_ms > deserted(slight, now))) {
            slight = room;
        }
        if (since_ms >= DESERTED_LONG_MS && (old == NULL || since_ms > deserted(old, now))) old = room;
    }
    return slight != NULL ? slight : old;
}

/* The member that gives way to a new one in a full room, NULL if none does. */
static struct store_member *member_to_end(const struct store_room *room, struct store_time now)
{
    struct store_member *member, *least = NULL;

    for (member = member_at(room, room->first); member != NULL; member = member_at(room, member->next)) {
        if (is_over(member, now) && (least == NULL || member->said < least->said)) least = member;
    }
    return least;
}

/* Makes a place in ROOM for NAME: *GIVEN is the member that gives way, NULL if nobody need. */
static enum store_result join_place(struct store_room *room, const struct store_name *name, struct store_time now,
                                    struct store_member **given)
{
    *given = find_name(room, name);
    if (*given != NULL) return is_over(*given, now) ? STORE_OK : STORE_TAKEN;
    if (room->count < room->store->options.members) return STORE_OK;
    *given = member_to_end(room, now);
    return *given != NULL ? STORE_OK : STORE_NO_PLACE;
}

/* Begins the batch with the room NAME for who joins. *SPOT is its place, *FRESH what it will be there; STORE_NO_ROOM if
 * there is none. A room that gives way is ended only when the batch is written. */
static enum store_result join_new_room(struct store *store, const struct store_name *name, struct store_time now,
                                       struct store_room *fresh, struct store_room **spot)
{
    *spot = free_place(store);
    if (*spot == NULL) *spot = room_to_end(store, now);
    if (*spot == NULL) return STORE_NO_ROOM;
    begin_room(store, fresh, name, now);
    if ((*spot)->name_length > 0) put_end_record(&store->batch, *spot);
    put_room_record(&store->batch, fresh, now);
    return STORE_OK;
}

/* Makes the room that join_new_room planned. */
static void take_spot(struct store *store, struct store_room *spot, const struct store_room *fresh,
                      struct store_time now)
{
    if (spot->name_length > 0) {
        end_copy(store, spot, now);
        remove_room(spot, now);
    }
    add_room(store, spot, fresh, now);
}

enum store_result store_join(struct store *store, const struct store_name *room_name, const struct store_name *name,
                             const unsigned char key[STORE_KEY_SIZE], struct store_time now,
                             struct store_member **member)
{
    struct store_room fresh, *spot = store_find(store, room_name), *room = spot;
    struct store_member newcomer, *given = NULL;
    struct store_bytes called;
    enum store_result result;

    store->batch.length = 0;
    if (room == NULL) {
        room = &fresh;
        result = join_new_room(store, room_name, now, room, &spot);
    } else {
        result = join_place(room, name, now, &given);
    }
    if (result != STORE_OK) return result;
    if (given != NULL) put_gone_record(&store->batch, given);
    memset(&newcomer, 0, sizeof newcomer);
    newcomer.room = room;
    newcomer.by = room->next_by;
    newcomer.absent_since_ms = now.mono_ms;
    memcpy(newcomer.key, key, STORE_KEY_SIZE);
    called.at = name->bytes;
    called.length = name->length;
    put_member_record(&store->batch, &newcomer, called, now);
    if (append(store, spot, now) != 0) return STORE_FULL;
    if (room == &fresh) take_spot(store, spot, &fresh, now);
    if (given != NULL) remove_member(given, now);
    *member = add_member(spot, newcomer.by, name, key, now);
    return STORE_OK;
}

enum store_result store_rename(struct store_member *member, const struct store_name *name, struct store_time now)
{
    struct store_room *room = member->room;
    struct store_member *other = find_name(room, name);
    struct store_bytes called;

    called.at = name->bytes;
    called.length = name->length;
    if (called.length == member->name_length && memcmp(called.at, member->name, called.length) == 0) return STORE_OK;
    if (other == member) other = NULL;
    if (other != NULL && !is_over(other, now)) return STORE_TAKEN;
    room->store->batch.length = 0;
    if (other != NULL) put_gone_record(&room->store->batch, other);
    put_member_record(&room->store->batch, member, called, now);
    if (append(room->store, room, now) != 0) return STORE_FULL;
    if (other != NULL) remove_member(other, now);
    unlink_place(room, name_bucket(room, member->name_hash), member_place(member), 1);
    set_name(member, name);
    member->renamed++;
    if (member->is_here) state_changed(room, &room->people, now);
    if (room->typer_count > 0) state_changed(room, &room->typing, now);
    tell_readers(room);
    return STORE_OK;
}

void store_leave(struct store_member *member, struct store_time now)
{
    struct store_room *room = member->room;
    struct store *store = room->store;

    store->batch.length = 0;
    put_gone_record(&store->batch, member);
    if (append(store, room, now) != 0) { /* it takes effect all the same, and is written when there is space */
        if (store->rewrite.fd < 0 && !store->behind) store->retry_ms = now.mono_ms + RETRY_MS;
        store->behind = 1;
        if (is_copied(store, room)) {
            append_to_copy(store, now);
            if (store->unsynced_ms < 0) store->unsynced_ms = now.mono_ms; /* its fsync may have begun */
        }
    }
    remove_member(member, now);
}

void store_typing(struct store_member *member, struct store_time now)
{
    struct store_room *room = member->room;
    size_t i;

    for (i = 0; i < room->typer_count && room->typers[i].by != member->by; i++) continue;
    if (i == TYPING_MAX) return; /* enough are shown; it tries again */
    if (i == room->typer_count) {
        room->typer_count++;
        room->typers[i].by = member->by;
        room->typers[i].member = member_place(member);
        state_changed(room, &room->typing, now);
    }
    room->typers[i].until_ms = now.mono_ms + TYPING_MS;
    room_is_due(room, room->typers[i].until_ms);
}

/* MEMBER is here, at least until UNTIL_MS. */
static void is_here_until(struct store_member *member, int64_t until_ms, struct store_time now)
{
    if (until_ms > member->here_until_ms) member->here_until_ms = until_ms;
    may_lapse(member->room, member->here_until_ms);
    if (member->is_here) return;
    member->is_here = 1;
    member->room->here++;
    member->room->store->here++;
    state_changed(member->room, &member->room->people, now);
}

void store_seen(struct store_member *member, struct store_time now)
{
    is_here_until(member, now.mono_ms + SEEN_MS, now);
}

/* The time of the newest message that readers get of ROOM, -1 if there is none. */
static int64_t latest_t(const struct store_room *room)
{
    const struct ring *ring = &room->ring;

    if (ring->tail == ring->shown) return -1;
    return ring->shown == ring->head ? room->last_t : frame_time(ring, frame_start(ring, ring->shown - 1));
}

/* The rooms to be listed, the latest first, at most LISTED_MAX. Returns how many. */
static size_t latest_rooms(const struct store *store, const struct store_room *latest[LISTED_MAX])
{
    const struct store_room *room;
    size_t count = 0, i;

    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        int64_t last = latest_t(room);
        if (room->name_length == 0 || room->name[0] == '.') continue;
        if (room->here == 0 && last < 0) continue;
        for (i = count; i > 0; i--) { /* insertion into what is sorted already */
            if (latest_t(latest[i - 1]) >= last) break;
            if (i < LISTED_MAX) latest[i] = latest[i - 1];
        }
        if (i < LISTED_MAX) latest[i] = room;
        if (i < LISTED_MAX && count < LISTED_MAX) count++;
    }
    return count;
}

size_t store_list(const struct store *store, char *out_text)
{
    struct out out = {(unsigned char *)out_text, STORE_LIST_MAX, 0};
    const struct store_room *latest[LISTED_MAX];
    size_t i, count = latest_rooms(store, latest);

    put_byte(&out, '[');
    for (i = 0; i < count; i++) {
        if (i > 0) put_byte(&out, ',');
        put(&out, "{\"room\":\"");
        put_escaped(&out, latest[i]->name, latest[i]->name_length);
        put(&out, "\",\"people\":");
        put_number(&out, latest[i]->here);
        put(&out, ",\"last\":");
        if (latest_t(latest[i]) >= 0) put_time(&out, latest_t(latest[i])); else put(&out, "null");
        put_byte(&out, '}');
    }
    put_byte(&out, ']');
    return out.length;
}

/* ---- messages ---- */

/* How many bytes at AT are ASCII that can be seen: most of what is written, and never in the way. */
static size_t visible(const unsigned char *at, size_t left)
{
    size_t length = 0;

    while (length < left && at[length] > ' ' && at[length] < 0x7F) length++;
    return length;
}

/* The text as the inside of a JSON string, CRLF as LF. Returns NULL, or what is wrong with it. */
static const char *put_text(struct out *out, struct store_bytes text)
{
    size_t i, length, start = 0, kept = 0;
    int is_empty = 1;

    for (i = 0; i < text.length && kept <= STORE_TEXT_MAX; i += length) {
        uint32_t point = 'x';
        length = visible(text.at + i, text.length - i);
        if (length == 0) length = decode(text.at + i, text.length - i, &point);
        if (length == 0) return "The text is not valid UTF-8; send it in that encoding.";
        if (point == '\r' && i + 1 < text.length && text.at[i + 1] == '\n') {
            put_escaped(out, text.at + start, i - start);
            start = i + 1;
            continue;
        }
        if (is_control(point) && point != '\t' && point != '\n') {
            return "The text has a control character in it; leave that out.";
        }
        kept += length;
        if (!is_blank(point) && point != '\t' && point != '\n') is_empty = 0;
    }
    if (kept > STORE_TEXT_MAX) return "The text is longer than 4000 bytes; shorten it.";
    if (is_empty) return "The text is empty; write something.";
    put_escaped(out, text.at + start, text.length - start);
    return NULL;
}

/* The frame of a message. Returns NULL, or what is wrong with TEXT. */
static const char *put_frame(struct out *out, uint64_t id, int64_t t, uint64_t by, struct store_bytes name,
                             struct store_bytes text)
{
    const char *reason;

    put(out, "id: ");
    put_number(out, id);
    put(out, "\ndata: {\"id\":");
    put_number(out, id);
    put(out, ",\"t\":");
    put_time(out, t);
    put(out, ",\"by\":");
    put_number(out, by);
    put(out, ",\"name\":\"");
    put_escaped(out, name.at, name.length);
    put(out, "\",\"text\":\"");
    reason = put_text(out, text);
    put(out, "\"}\n\n");
    return reason;
}

/* Whether readers get the message ID of ROOM already. */
static int is_shown(const struct store_room *room, uint64_t id)
{
    return room->ring.shown == room->ring.head || id < frame_id(&room->ring, room->ring.shown);
}

/* A message was added to the ring: it is shown now, or when it lasts. */
static void show_later(struct store_room *room)
{
    struct store *store = room->store;

    if (store->options.sync != STORE_SYNC_ALWAYS) {
        room->ring.shown = room->ring.head;
        tell_readers(room);
    } else if (!room->is_unshown) {
        room->is_unshown = 1;
        room->asked = room->ring.shown;
        room->next_unshown = store->unshown;
        store->unshown = (uint32_t)store_number(room) + 1;
    }
}

static const struct nonce *find_nonce(const struct store_member *member, uint64_t digest)
{
    size_t i;

    for (i = 0; i < NONCES_MAX && digest != 0; i++) {
        if (member->nonces[i].digest == digest) return &member->nonces[i];
    }
    return NULL;
}

static void add_nonce(struct store_member *member, uint64_t digest, uint64_t id, int64_t t)
{
    struct nonce *nonce = &member->nonces[member->nonce_next];

    if (digest == 0) return;
    nonce->digest = digest;
    nonce->id = id;
    nonce->t = t;
    member->nonce_next = (unsigned char)((member->nonce_next + 1) % NONCES_MAX);
}

/* What a message changes beside the ring, when it is said and when it is read from the file. */
static void count_message(struct store_room *room, struct store_member *member, uint64_t digest, uint64_t id, int64_t t)
{
    room->next_id = id + 1;
    if (t > room->last_t) room->last_t = t;
    if (member == NULL) return;
    if (member->said++ == 0) room->speakers++;
    add_nonce(member, digest, id, t);
}

/* The rates of MEMBER and of ADDRESS: both or none are spent, and *WAIT_MS is the longer wait. */
static enum store_result spend_both(struct store_member *member, struct store_bucket *address, size_t frame_length,
                                    struct store_time now, int64_t *wait_ms)
{
    struct store_rate rate = member->room->store->options.rate, of_address = {rate.tokens * 4, rate.period_s};
    struct store_bucket own = member->bucket, theirs = address != NULL ? *address : own;
    int64_t cost = (int64_t)(frame_length + 1023) / 1024, own_ms = 0, their_ms = 0;

    if (cost > rate.tokens) cost = rate.tokens;
    (void)store_spend(&own, rate, cost, now, &own_ms);
    if (address != NULL) (void)store_spend(&theirs, of_address, cost, now, &their_ms);
    *wait_ms = own_ms > their_ms ? own_ms : their_ms;
    if (*wait_ms > 0) return STORE_BUSY;
    member->bucket = own;
    if (address != NULL) *address = theirs;
    return STORE_OK;
}

enum store_result store_send(struct store_member *member, struct store_bytes text, struct store_nonce nonce,
                             struct store_bucket *address, struct store_time now, struct store_receipt *receipt)
{
    struct store_room *room = member->room;
    struct store *store = room->store;
    struct out *batch = &store->batch;
    uint64_t digest = !nonce.given ? 0 : nonce.digest != 0 ? nonce.digest : 1; /* 0 is none */
    const struct nonce *seen = find_nonce(member, digest);
    size_t sum_at, frame_at, frame_length;

    receipt->id = seen != NULL ? seen->id : room->next_id;
    receipt->t = seen != NULL ? seen->t : now.wall_ms > room->last_t ? now.wall_ms : room->last_t;
    receipt->mark = seen != NULL && is_shown(room, seen->id) ? 0 : store->written; /* it waits with its message */
    if (seen != NULL) return STORE_OK;
    batch->length = 0;
    sum_at = begin_message(batch, room, digest);
    frame_at = batch->length;
    receipt->reason = put_frame(batch, receipt->id, receipt->t, member->by, store_called(member), text);
    if (receipt->reason != NULL) return STORE_BAD;
    end_record(store, batch, sum_at);
    frame_length = batch->length - frame_at;
    if (spend_both(member, address, frame_length, now, &receipt->wait_ms) != STORE_OK) return STORE_BUSY;
    if (frame_length > room->ring.size - (size_t)(room->ring.head - room->ring.shown)) return STORE_BEHIND;
    if (append(store, room, now) != 0) return STORE_FULL;
    receipt->mark = store->written;
    ring_add(room, batch->bytes + frame_at, frame_length);
    show_later(room);
    count_message(room, member, digest, receipt->id, receipt->t);
    stop_typing(member, now);
    return STORE_OK;
}

/* ---- readers ---- */

/* What the last span was of: cursor->part. */
enum piece { BORDER, OPENING, PEOPLE, TYPING, GAP, RING, INSIDE };

/* What is still to be told: cursor->due. */
#define DUE_OPENING 1
#define DUE_PEOPLE 2
#define DUE_TYPING 4
#define DUE_GAP 8
#define DUE_BRACKET 16 /* an array's first */
#define DUE_END 32     /* an array's last */

int store_is_member(const struct store_cursor *cursor) { return cursor->member->by == cursor->by; }

/* Puts CURSOR behind AFTER. Returns whether something is missing there. */
static int seek(struct store_cursor *cursor, const struct store_room *room, struct store_after after)
{
    const struct ring *ring = &room->ring;
    uint64_t first = ring->tail < ring->head ? frame_id(ring, ring->tail) : room->next_id;

    cursor->at = ring->tail;
    if (after.kind == STORE_AFTER_NONE) return 0;
    if (after.kind == STORE_AFTER_UNREADABLE) return 1;
    if (after.id + 1 == first || ring->tail == ring->shown) return after.id + 1 != first;
    if (after.id < first) return 1;
    cursor->at = frame_after(ring, after.id);
    if (frame_id(ring, frame_start(ring, cursor->at - 1)) == after.id) return 0;
    if (cursor->at == ring->shown) cursor->at = ring->tail; /* newer than the newest */
    return 1;
}

static void begin_cursor(struct store_cursor *cursor, struct store_member *member)
{
    memset(cursor, 0, sizeof *cursor);
    cursor->member = member;
    cursor->by = member->by;
}

void store_wait(struct store_cursor *cursor, struct store_time now)
{
    cursor->member->waits++;
    is_here_until(cursor->member, now.mono_ms, now);
}

void store_unwait(struct store_cursor *cursor, struct store_time now)
{
    if (!store_is_member(cursor)) return;
    cursor->member->waits--;
    is_here_until(cursor->member, now.mono_ms + GRACE_MS, now);
}

void store_follow(struct store_cursor *cursor, struct store_member *member, struct store_after after,
                  struct store_time now)
{
    struct store_room *room = member->room;

    begin_cursor(cursor, member);
    cursor->due = DUE_OPENING | DUE_PEOPLE;
    if (seek(cursor, room, after)) cursor->due |= DUE_GAP;
    store_wait(cursor, now);
    room->readers++;
    if (room->people.stale && room->people.inside == 0) write_state(room, &room->people); /* he is in it */
    if (room->typing.stale && room->typing.inside == 0) write_state(room, &room->typing);
    if (room->typer_count > 0) cursor->due |= DUE_TYPING;
    cursor->people = room->people.version;
    cursor->typing = room->typing.version;
}

static struct state *state_of(struct store_room *room, const struct store_cursor *cursor)
{
    return cursor->part == PEOPLE ? &room->people : &room->typing;
}

static uint32_t *version_of(struct store_cursor *cursor)
{
    return cursor->part == PEOPLE ? &cursor->people : &cursor->typing;
}

void store_unfollow(struct store_cursor *cursor, struct store_time now)
{
    struct store_room *room = cursor->member->room;
    struct state *state = state_of(room, cursor);

    if (cursor->within > 0 && *version_of(cursor) == state->version && --state->inside == 0 && state->stale) {
        room_is_due(room, now.mono_ms);
    }
    room->readers--;
    store_unwait(cursor, now);
}

/* A reader with an older version than the announced one is behind. */
static int is_behind(const struct state *state, uint32_t seen) { return (int32_t)(state->announced - seen) > 0; }

static void put_opening(struct out *out, const struct store_cursor *cursor)
{
    if (cursor->due & DUE_OPENING) put(out, "retry: 2000\n\n");
    put(out, "event: you\ndata: ");
    put_person(out, cursor->member);
    put(out, "\n\n");
}

static void put_gap(struct out *out, const struct store_cursor *cursor)
{
    const struct store_room *room = cursor->member->room;
    const struct ring *ring = &room->ring;
    uint64_t first = ring->tail == ring->head ? room->next_id : frame_id(ring, ring->tail), before = first - 1;

    if (cursor->at > ring->tail) before = frame_id(ring, frame_start(ring, cursor->at - 1));
    put(out, "id: ");
    put_number(out, before);
    put(out, "\nevent: gap\ndata: {\"oldest\":");
    if (ring->tail == ring->shown) put(out, "null"); else put_number(out, first);
    put(out, "}\n\n");
}

/* What a reader is to get whose last event is complete. */
static enum piece next_piece(const struct store_cursor *cursor)
{
    const struct store_room *room = cursor->member->room;

    if (cursor->due & DUE_OPENING || cursor->you != cursor->member->renamed) return OPENING;
    if (cursor->due & DUE_PEOPLE || is_behind(&room->people, cursor->people)) return PEOPLE;
    if (cursor->due & DUE_TYPING || is_behind(&room->typing, cursor->typing)) return TYPING;
    if (cursor->due & DUE_GAP || cursor->at < room->ring.tail) return GAP;
    return cursor->at < room->ring.shown ? RING : BORDER;
}

static enum store_next next_note(struct store_cursor *cursor, unsigned char *scratch, struct store_bytes *span)
{
    struct out out = {scratch, STORE_NOTE_MAX, 0};

    if (cursor->part == OPENING) put_opening(&out, cursor); else put_gap(&out, cursor);
    span->at = scratch;
    span->length = out.length;
    return STORE_NOTE;
}

static enum store_next next_of_state(const struct store_cursor *cursor, const struct state *state,
                                     struct store_bytes *span)
{
    span->at = state->text + cursor->within;
    span->length = state->length - cursor->within;
    return STORE_BYTES;
}

static enum store_next next_of_ring(const struct store_cursor *cursor, struct store_bytes *span)
{
    const struct ring *ring = &cursor->member->room->ring;
    uint64_t end = ring->shown;

    if (cursor->part == INSIDE && next_piece(cursor) != RING) end = frame_end(ring, cursor->at); /* that comes first */
    *span = ring_span(ring, cursor->at, end);
    return STORE_BYTES;
}

enum store_next store_next(struct store_cursor *cursor, unsigned char *scratch, struct store_bytes *span)
{
    struct store_room *room = cursor->member->room;

    if (!store_is_member(cursor)) return STORE_END;
    if (cursor->within > 0) { /* inside a state */
        if (*version_of(cursor) != state_of(room, cursor)->version) return STORE_END;
        return next_of_state(cursor, state_of(room, cursor), span);
    }
    if (cursor->part == INSIDE) {
        return cursor->at < room->ring.tail ? STORE_END : next_of_ring(cursor, span);
    }
    cursor->part = (unsigned char)next_piece(cursor);
    switch (cursor->part) {
    case OPENING:
    case GAP: return next_note(cursor, scratch, span);
    case PEOPLE:
    case TYPING: return next_of_state(cursor, state_of(room, cursor), span);
    case RING: return next_of_ring(cursor, span);
    default: return STORE_NOTHING;
    }
}

static void took_of_state(struct store_cursor *cursor, size_t count)
{
    struct store_room *room = cursor->member->room;
    struct state *state = state_of(room, cursor);
    size_t before = cursor->within, after = before + count;

    if (before == 0) *version_of(cursor) = state->version;
    if (before == 0 && after < state->length) state->inside++;
    cursor->within = after < state->length ? (uint32_t)after : 0;
    if (after < state->length) return;
    if (before > 0 && --state->inside == 0 && state->stale) room_is_due(room, state->stale_ms);
    cursor->due &= (unsigned char)~(cursor->part == PEOPLE ? DUE_PEOPLE : DUE_TYPING);
}

void store_took(struct store_cursor *cursor, size_t count)
{
    const struct ring *ring = &cursor->member->room->ring;

    if (count == 0) return;
    switch (cursor->part) {
    case OPENING:
        cursor->due &= (unsigned char)~DUE_OPENING;
        cursor->you = cursor->member->renamed;
        break;
    case GAP:
        cursor->due &= (unsigned char)~DUE_GAP;
        if (cursor->at < ring->tail) cursor->at = ring->tail;
        break;
    case PEOPLE:
    case TYPING: took_of_state(cursor, count); break;
    default:
        cursor->at += count;
        cursor->part = is_border(ring, cursor->at) ? BORDER : INSIDE;
    }
}

/* ---- arrays of messages ---- */

int store_select(struct store_cursor *cursor, struct store_member *member, struct store_after after)
{
    begin_cursor(cursor, member);
    cursor->due = DUE_BRACKET;
    (void)seek(cursor, member->room, after); /* its reader sees a gap by the ids */
    return store_reselect(cursor);
}

int store_reselect(struct store_cursor *cursor)
{
    const struct ring *ring = &cursor->member->room->ring;

    if (cursor->at < ring->tail && cursor->due & DUE_BRACKET) cursor->at = ring->tail; /* overtaken while it waited */
    cursor->end = ring->shown;
    return cursor->at < cursor->end;
}

/* The frame from AT to END as JSON: without "id: ..\ndata: " and the empty line. */
static size_t copy_json(const struct ring *ring, uint64_t at, uint64_t end, unsigned char *to)
{
    while (ring_byte(ring, at) != '{') at++;
    ring_copy(ring, at, end - 2, to);
    return (size_t)(end - 2 - at);
}

enum store_next store_next_array(struct store_cursor *cursor, unsigned char *scratch, size_t size,
                                 struct store_bytes *span)
{
    const struct ring *ring = &cursor->member->room->ring;
    uint64_t at = cursor->at;
    size_t length = 0;

    assert(size >= STORE_FRAME_MAX);
    if (cursor->due & DUE_END) return STORE_NOTHING;
    if (!store_is_member(cursor) || (at < cursor->end && at < ring->tail)) return STORE_END;
    if (cursor->due & DUE_BRACKET) scratch[length++] = '[';
    while (at < cursor->end) {
        uint64_t end = frame_end(ring, at);
        if (end - at > size - length) break; /* what is cut off it makes room for comma and bracket */
        if (at > cursor->at || !(cursor->due & DUE_BRACKET)) scratch[length++] = ',';
        length += copy_json(ring, at, end, scratch + length);
        at = end;
    }
    if (at == cursor->end) scratch[length++] = ']';
    cursor->within = (uint32_t)(at - cursor->at);
    span->at = scratch;
    span->length = length;
    return STORE_BYTES;
}

void store_took_array(struct store_cursor *cursor)
{
    cursor->at += cursor->within;
    cursor->within = 0;
    cursor->due &= (unsigned char)~DUE_BRACKET;
    if (cursor->at == cursor->end) cursor->due |= DUE_END;
}

/* ---- reading the file ---- */

/* What is left of a record's line or of a frame. A step that does not fit sets `bad`, and then all do. */
struct scan {
    const unsigned char *at, *end;
    int bad;
};

static void skip(struct scan *scan, const char *text)
{
    size_t length = strlen(text);

    scan->bad |= (size_t)(scan->end - scan->at) < length || memcmp(scan->at, text, length) != 0;
    if (!scan->bad) scan->at += length;
}

static int next_is(const struct scan *scan, unsigned char byte)
{
    return !scan->bad && scan->at < scan->end && *scan->at == byte;
}

/* A decimal number below NUMBER_END. */
static uint64_t scan_number(struct scan *scan)
{
    const unsigned char *start = scan->at;
    uint64_t number = 0;

    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9' && number < NUMBER_END) {
        number = number * 10 + (uint64_t)(*scan->at++ - '0');
    }
    scan->bad |= scan->at == start || number >= NUMBER_END;
    return number;
}

/* An id or a `by`: from 1 on, and with room for more behind it. */
static int is_id(uint64_t number) { return number > 0 && number < NUMBER_END - MOVE_MAX; }

static uint64_t scan_id(struct scan *scan)
{
    uint64_t id = scan_number(scan);

    scan->bad |= !is_id(id);
    return id;
}

static uint64_t scan_hex(struct scan *scan, int digits)
{
    uint64_t number = 0;

    if (scan->end - scan->at < digits) scan->bad = 1;
    for (; !scan->bad && digits > 0; digits--, scan->at++) {
        static const char hex[] = "0123456789abcdef";
        const char *digit = *scan->at != '\0' ? strchr(hex, *scan->at) : NULL;
        if (digit == NULL) scan->bad = 1; else number = number << 4 | (uint64_t)(digit - hex);
    }
    return number;
}

/* A canonical name up to the byte STOP, which is passed over. */
static void scan_name(struct scan *scan, unsigned char stop, int is_room, struct store_name *name)
{
    const unsigned char *end = scan->bad ? NULL : memchr(scan->at, stop, (size_t)(scan->end - scan->at));
    struct store_bytes text;
    enum store_result result;
    const char *reason;

    name->length = 0;
    if (end == NULL) {
        scan->bad = 1;
        return;
    }
    text.at = scan->at;
    text.length = (size_t)(end - scan->at);
    result = is_room ? store_room_name(text, name, &reason) : store_member_name(text, name, &reason);
    scan->bad = result != STORE_OK || name->length != text.length ||
                memcmp(name->bytes, text.at, text.length) != 0;
    scan->at = end + 1;
}

/* The same, to the end of the record. */
static void scan_last_name(struct scan *scan, int is_room, struct store_name *name)
{
    scan_name(scan, '\n', is_room, name);
    scan->bad |= scan->at != scan->end;
}

enum kind { ROOM_RECORD, MEMBER_RECORD, MESSAGE_RECORD, GONE_RECORD, ABSENT_RECORD, END_RECORD, KINDS };

static const char *const kinds[KINDS] = {":room ", ":member ", ":message ", ":gone ", ":absent ", ":end "};

struct load {
    struct store *store;
    struct store_time now;
    unsigned char *window;      /* LOAD_SIZE bytes: the file from `offset` on */
    size_t start, end;          /* what is not taken yet */
    uint64_t offset;            /* of the file, at window[start] */
    uint64_t good_end;          /* behind the last intact record */
    int is_eof;
    int is_astray;              /* window[start] lies within damage */
    int has_hole;               /* there are zeros in the damage: a power cut's, and nothing behind them was fsynced */
    int is_zeros, is_ours;      /* nothing but zeros; something that begins like a record */
    uint64_t bad, bad_regions;  /* damaged bytes before an intact record */
    uint64_t torn, torn_starts; /* likewise behind the last one so far, and records that begin there */
    uint64_t torn_frames;       /* lines there that begin like a frame: two, if a border was lost */
    uint64_t torn_marks;        /* bytes there that are not zeros */
    char *reason;               /* set if the file is not for this server */
};

/* Damage may have hidden that a room, a member or a name was given up: then it is now, and no start is refused. Behind
 * a hole it is the newcomer that gives way, since nobody was promised that it lasts. */
static int is_damaged(const struct load *load) { return load->bad > 0 || load->torn > 0; }

static struct store_room *silent_room(struct store *store)
{
    struct store_room *room, *silent = store->rooms;

    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        if (room->last_t < silent->last_t) silent = room;
    }
    return silent;
}

static struct store_member *silent_member(struct store_room *room)
{
    struct store_member *member, *silent = member_at(room, room->first);

    for (member = silent; member != NULL; member = member_at(room, member->next)) {
        if (member->said < silent->said) silent = member;
    }
    return silent;
}

/* The room of a record, made if there is none. NULL if there is no place for it. */
static struct store_room *loaded_room(struct load *load, const struct store_name *name)
{
    struct store *store = load->store;
    struct store_room *room = store_find(store, name), *spot, fresh;

    if (room != NULL) return room;
    spot = free_place(store);
    if (spot == NULL && load->has_hole) return NULL;
    if (spot == NULL && is_damaged(load)) {
        spot = silent_room(store);
        remove_room(spot, load->now);
    }
    if (spot == NULL) {
        (void)snprintf(load->reason, STORE_REASON_SIZE,
                       "%.300s holds more than %zu rooms; start with a larger -o rooms=.", store->path,
                       store->options.rooms);
        return NULL;
    }
    begin_room(store, &fresh, name, load->now);
    fresh.next_id = fresh.next_by = 1; /* its records say more, and then move_numbers */
    add_room(store, spot, &fresh, load->now);
    return spot;
}

static int load_room(struct load *load, struct scan *scan)
{
    struct store_room *room;
    struct store_name name;
    uint64_t next_id, next_by, last_t, speakers, deserted_ms;

    next_id = scan_id(scan);
    skip(scan, " ");
    next_by = scan_id(scan);
    skip(scan, " ");
    last_t = scan_number(scan);
    skip(scan, " ");
    speakers = scan_number(scan);
    skip(scan, " ");
    deserted_ms = scan_number(scan);
    skip(scan, " ");
    scan_last_name(scan, 1, &name);
    if (scan->bad || (room = loaded_room(load, &name)) == NULL) return -1;
    if (next_id > room->next_id) room->next_id = next_id;
    if (next_by > room->next_by) room->next_by = next_by;
    if ((int64_t)last_t > room->last_t) room->last_t = (int64_t)last_t;
    room->speakers = speakers;
    room->deserted_ms = (int64_t)deserted_ms;
    return 0;
}

static void load_nonces(struct scan *scan, struct nonce nonces[NONCES_MAX])
{
    size_t i = 0;

    memset(nonces, 0, NONCES_MAX * sizeof nonces[0]);
    if (next_is(scan, '-')) {
        skip(scan, "-");
        return;
    }
    do {
        if (i > 0) skip(scan, ",");
        if (i == NONCES_MAX) scan->bad = 1;
        if (scan->bad) return;
        nonces[i].digest = scan_hex(scan, 16);
        skip(scan, "@");
        nonces[i].id = scan_number(scan);
        skip(scan, "@");
        nonces[i].t = (int64_t)scan_number(scan);
        i++;
    } while (next_is(scan, ','));
}

/* Whether a hole has taken the message ID of ROOM, whose nonce a member's record still knows. */
static int is_lost(const struct load *load, const struct store_room *room, uint64_t id)
{
    const struct ring *ring = &room->ring;
    uint64_t at;

    if (!load->has_hole) return 0;
    if (ring->tail == ring->head) return 1; /* the newest is always held */
    if (id < frame_id(ring, ring->tail)) { /* with so much space left none has given way */
        return ring->size - (ring->head - ring->tail) >= STORE_FRAME_MAX;
    }
    at = frame_after(ring, id - 1);
    return at == ring->head || frame_id(ring, at) != id;
}

/* Gives MEMBER the nonces of its record, the oldest first, but for those of lost messages: a retry says these again. */
static void take_nonces(const struct load *load, struct store_member *member, const struct nonce nonces[NONCES_MAX])
{
    size_t i;

    memset(member->nonces, 0, sizeof member->nonces);
    member->nonce_next = 0;
    for (i = 0; i < NONCES_MAX; i++) {
        if (is_lost(load, member->room, nonces[i].id)) continue;
        add_nonce(member, nonces[i].digest, nonces[i].id, nonces[i].t);
    }
}

/* The member BY of ROOM under NAME, made or renamed; who has that name is gone. NULL if there is no place. */
static struct store_member *loaded_member(struct load *load, struct store_room *room, uint64_t by,
                                          const struct store_name *name, const unsigned char key[STORE_KEY_SIZE])
{
    struct store_member *member = find_by(room, by), *other = find_name(room, name);

    if (other != NULL && other != member && load->has_hole) return NULL;
    if (other != NULL && other != member) remove_member(other, load->now);
    if (member != NULL) {
        place at = member_place(member);
        unlink_place(room, name_bucket(room, member->name_hash), at, 1);
        unlink_place(room, key_bucket(room, member->key), at, 0);
        set_name(member, name);
        set_key(member, key);
        return member;
    }
    if (room->count == load->store->options.members && load->has_hole) return NULL;
    if (room->count == load->store->options.members && is_damaged(load)) remove_member(silent_member(room), load->now);
    if (room->count == load->store->options.members) {
        (void)snprintf(load->reason, STORE_REASON_SIZE,
                       "%.300s holds more than %zu names in a room; start with a larger -o members=.",
                       load->store->path, load->store->options.members);
        return NULL;
    }
    return add_member(room, by, name, key, load->now);
}

static int load_member(struct load *load, struct scan *scan)
{
    struct nonce nonces[NONCES_MAX];
    unsigned char key[STORE_KEY_SIZE];
    struct store_name room_name, name;
    struct store_member *member;
    struct store_room *room;
    uint64_t by, said, absent_ms;
    size_t i;

    by = scan_id(scan);
    skip(scan, " ");
    said = scan_number(scan);
    skip(scan, " ");
    absent_ms = scan_number(scan);
    skip(scan, " ");
    for (i = 0; i < STORE_KEY_SIZE; i++) key[i] = (unsigned char)scan_hex(scan, 2);
    skip(scan, " ");
    load_nonces(scan, nonces);
    skip(scan, " ");
    scan_name(scan, '/', 1, &room_name);
    scan_last_name(scan, 0, &name);
    if (scan->bad || (room = loaded_room(load, &room_name)) == NULL) return -1;
    member = loaded_member(load, room, by, &name, key);
    if (member == NULL) return -1;
    member->said = said;
    member->absent_ms = (int64_t)absent_ms;
    take_nonces(load, member, nonces);
    return 0;
}

/* Undoes put_escaped: the JSON string at SCAN, its closing quote with it, to TEXT of SIZE bytes. */
static struct store_bytes scan_string(struct scan *scan, unsigned char *text, size_t size)
{
    struct store_bytes bytes = {text, 0};

    while (scan->at < scan->end && *scan->at != '"' && bytes.length < size) {
        unsigned char byte = *scan->at++;
        if (byte == '\\' && scan->at < scan->end) {
            byte = *scan->at++;
            byte = byte == 'n' ? '\n' : byte == 't' ? '\t' : byte;
        }
        text[bytes.length++] = byte;
    }
    skip(scan, "\"");
    return bytes;
}

/* The JSON of a frame. Its name and text are put to WORDS, which holds both, or is where the JSON lies. */
static void scan_message(struct scan *scan, unsigned char *words, struct store_message *message)
{
    skip(scan, "{\"id\":");
    message->id = scan_number(scan);
    skip(scan, ",\"t\":");
    message->t = (int64_t)scan_number(scan);
    skip(scan, ",\"by\":");
    message->by = scan_number(scan);
    skip(scan, ",\"name\":\"");
    message->name = scan_string(scan, words, STORE_NAME_MAX);
    skip(scan, ",\"text\":\"");
    message->text = scan_string(scan, words + message->name.length, STORE_TEXT_MAX);
}

/* A frame is taken if put_frame would have written the same. */
static int load_message(struct load *load, struct scan *scan)
{
    struct out *again = &load->store->batch;
    unsigned char words[STORE_NAME_MAX + STORE_TEXT_MAX];
    struct store_message message;
    struct store_bytes name_bytes;
    struct store_name room_name, name;
    const unsigned char *frame;
    struct store_room *room;
    uint64_t digest = 0;
    const char *reason;
    size_t length;

    if (next_is(scan, '-')) skip(scan, "-"); else digest = scan_hex(scan, 16);
    skip(scan, " ");
    scan_name(scan, '\n', 1, &room_name);
    frame = scan->at;
    length = (size_t)(scan->end - frame);
    skip(scan, "id: ");
    (void)scan_id(scan);
    skip(scan, "\ndata: ");
    scan_message(scan, words, &message);
    if (scan->bad || !is_id(message.by) || store_member_name(message.name, &name, &reason) != STORE_OK) return -1;
    name_bytes.at = name.bytes;
    name_bytes.length = name.length;
    again->length = 0;
    if (put_frame(again, message.id, message.t, message.by, name_bytes, message.text) != NULL) return -1;
    if (again->length != length || memcmp(again->bytes, frame, length) != 0) return -1;
    room = loaded_room(load, &room_name);
    if (room == NULL) return -1;
    if (message.id < room->next_id) return -1; /* ids go up */
    ring_add(room, frame, length);
    room->ring.shown = room->ring.head;
    count_message(room, find_by(room, message.by), digest, message.id, message.t);
    if (message.by >= room->next_by) room->next_by = message.by + 1;
    return 0;
}

static int load_gone(struct load *load, struct scan *scan)
{
    struct store_member *member;
    struct store_room *room;
    struct store_name name;
    uint64_t by;

    by = scan_number(scan);
    skip(scan, " ");
    scan_last_name(scan, 1, &name);
    if (scan->bad || (room = loaded_room(load, &name)) == NULL) return -1;
    member = find_by(room, by);
    if (member != NULL) remove_member(member, load->now);
    return 0;
}

/* BY=MS, and the comma behind it if more follow. Returns the time. */
static int64_t scan_absence(struct scan *scan, uint64_t *by)
{
    uint64_t ms;

    *by = scan_id(scan);
    skip(scan, "=");
    ms = scan_number(scan);
    if (scan->at < scan->end) skip(scan, ",");
    return (int64_t)ms;
}

static int load_absent(struct load *load, struct scan *scan)
{
    struct scan absences, check;
    struct store_member *member;
    struct store_room *room;
    struct store_name name;
    uint64_t deserted_ms, by;

    deserted_ms = scan_number(scan);
    skip(scan, " ");
    absences = *scan;
    while (scan->at < scan->end && *scan->at != ' ') scan->at++;
    absences.end = scan->at;
    for (check = absences; !check.bad && check.at < check.end;) (void)scan_absence(&check, &by);
    skip(scan, " ");
    scan_last_name(scan, 1, &name);
    if (scan->bad || check.bad || (room = loaded_room(load, &name)) == NULL) return -1;
    room->deserted_ms = (int64_t)deserted_ms;
    member = member_at(room, room->first);
    while (absences.at < absences.end) { /* both go up */
        int64_t absent_ms = scan_absence(&absences, &by);
        while (member != NULL && member->by < by) member = member_at(room, member->next);
        if (member != NULL && member->by == by) member->absent_ms = absent_ms;
    }
    return 0;
}

static int load_end(struct load *load, struct scan *scan)
{
    struct store_room *room;
    struct store_name name;

    scan_last_name(scan, 1, &name);
    if (scan->bad) return -1;
    room = store_find(load->store, &name);
    if (room != NULL) remove_room(room, load->now);
    return 0;
}

/* The kind of the record that begins at AT, KINDS if none does. */
static enum kind kind_of(const unsigned char *at, size_t length)
{
    int kind = 0;

    for (; kind < KINDS; kind++) {
        size_t size = strlen(kinds[kind]);
        if (length >= size && memcmp(at, kinds[kind], size) == 0) break;
    }
    return (enum kind)kind;
}

/* The length of the record at AT: to its empty line. 0 if there is none within RECORD_MAX. */
static size_t record_length(const unsigned char *at, size_t length)
{
    const unsigned char *end = at + (length < RECORD_MAX ? length : RECORD_MAX), *newline = at;

    while ((newline = memchr(newline, '\n', (size_t)(end - newline))) != NULL) {
        newline++;
        if (newline < end && *newline == '\n') return (size_t)(newline + 1 - at);
    }
    return 0;
}

/* Takes the record at AT if it is intact. */
static int load_record(struct load *load, enum kind kind, const unsigned char *at, size_t length)
{
    static int (*const loaders[KINDS])(struct load *, struct scan *) = {load_room, load_member, load_message,
                                                                      load_gone, load_absent, load_end};
    struct scan scan;
    uint64_t sum;

    scan.at = at + strlen(kinds[kind]);
    scan.end = at + length;
    scan.bad = 0;
    sum = scan_hex(&scan, 8);
    skip(&scan, " ");
    if (scan.bad || crc(load->store, scan.at, (size_t)(scan.end - scan.at)) != sum) return -1;
    if (kind != MESSAGE_RECORD) scan.end--; /* the empty line */
    return loaders[kind](load, &scan);
}

static int fill_window(struct load *load)
{
    ssize_t count;

    memmove(load->window, load->window + load->start, load->end - load->start);
    load->end -= load->start;
    load->start = 0;
    while (!load->is_eof && load->end < LOAD_SIZE) {
        count = disk.read(load->store->fd, load->window + load->end, LOAD_SIZE - load->end);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return -1;
        if (count == 0) load->is_eof = 1;
        load->end += (size_t)count;
    }
    return 0;
}

/* Whether a record may begin I bytes behind AT: behind a newline, or the one damaged byte that was its empty line.
 * Behind zeros only a message: anything else could be the rest of a text that the zeros cut off. */
static int may_begin(const unsigned char *at, size_t i, size_t left)
{
    if (at[i] != ':') return 0;
    if (at[i - 1] == '\0' && kind_of(at + i, left - i) == MESSAGE_RECORD) return 1;
    return (at[i - 1] == '\n' || (i >= 2 && at[i - 2] == '\n')) && kind_of(at + i, left - i) != KINDS;
}

/* Passes over damage: to the next line that begins like a record, or as far as is read. */
static void skip_damage(struct load *load)
{
    size_t i, left = load->end - load->start;
    const unsigned char *at = load->window + load->start;

    for (i = 1; i < left && !may_begin(at, i, left); i++) {
        load->is_zeros &= at[i - 1] == 0;
        load->has_hole |= at[i - 1] == 0 && at[i] == 0;
        load->torn_marks += at[i - 1] != 0;
        load->torn_frames += at[i - 1] == '\n' && left - i >= 4 && memcmp(at + i, "id: ", 4) == 0;
    }
    load->is_zeros &= at[i - 1] == 0;
    load->torn_marks += at[i - 1] != 0;
    load->is_astray = i == left && !load->is_eof;
    if (load->is_astray) i -= 16; /* a record may begin in what is not read yet */
    load->torn += i;
    load->start += i;
    load->offset += i;
}

static void load_next(struct load *load)
{
    const unsigned char *at = load->window + load->start;
    size_t left = load->end - load->start, length = record_length(at, left);
    enum kind kind = load->is_astray ? KINDS : kind_of(at, left);

    if (kind != KINDS) load->is_ours = 1;
    if (kind != KINDS && length > 0 && load_record(load, kind, at, length) == 0) {
        if (load->torn > 0) load->bad_regions++;
        load->bad += load->torn;
        load->torn = load->torn_starts = load->torn_frames = load->torn_marks = 0;
        load->start += length;
        load->offset += length;
        load->good_end = load->offset;
        return;
    }
    if (kind != KINDS) load->torn_starts++;
    skip_damage(load);
}

/* Reads the whole file. Returns -1 with a sentence in REASON if it is not for this server. */
static int load_file(struct load *load)
{
    struct store *store = load->store;
    size_t i;

    load->is_zeros = 1;
    for (;;) {
        if (load->end - load->start < RECORD_MAX && !load->is_eof && fill_window(load) != 0) {
            (void)snprintf(load->reason, STORE_REASON_SIZE, "%.300s can't be read (%s).", store->path, strerror(errno));
            return -1;
        }
        if (load->start == load->end) break;
        load_next(load);
        if (load->reason[0] != '\0') return -1;
    }
    if (load->offset == 0 || load->is_ours || load->is_zeros) return 0;
    for (i = 0; i < KINDS; i++) { /* a crash can leave a piece of the first record */
        if (load->offset < strlen(kinds[i]) && memcmp(load->window, kinds[i], (size_t)load->offset) == 0) return 0;
    }
    (void)snprintf(load->reason, STORE_REASON_SIZE,
                   "%.300s is not a data file of snug: it is left as it is; name another with -f.", store->path);
    return -1;
}

/* ---- messages one by one ---- */

void store_look_back(struct store_cursor *cursor, struct store_member *member)
{
    begin_cursor(cursor, member);
    cursor->at = member->room->ring.shown;
}

int store_previous(struct store_cursor *cursor, unsigned char *scratch, struct store_message *message)
{
    const struct ring *ring = &cursor->member->room->ring;
    uint64_t end = cursor->at;
    struct scan scan = {scratch, scratch, 0};

    if (!store_is_member(cursor) || end <= ring->tail) return 0;
    cursor->at = frame_start(ring, end - 1);
    scan.end += copy_json(ring, cursor->at, end, scratch);
    scan_message(&scan, scratch, message);
    assert(!scan.bad); /* put_frame wrote it */
    return 1;
}

/* ---- open and close ---- */

static size_t power_above(size_t number)
{
    size_t power = 1;

    while (power < number && power <= SIZE_MAX / 4) power *= 2;
    return power;
}

/* Adds COUNT things of SIZE to *SUM, a multiple of 16 always, or SIZE_MAX: a quarter of all there can be is too much.
 * Returns where they begin. */
static size_t take(size_t *sum, size_t count, size_t size)
{
    size_t start = *sum, most = SIZE_MAX / 4;

    if (start > most || size > most || count > most / size) {
        *sum = SIZE_MAX;
        return 0;
    }
    *sum = start + (count * size + 15) / 16 * 16;
    return start;
}

/* Places all arrays in one block at BASE (NULL: only counts). Returns its size. */
static size_t lay_out(struct store *store, const struct store_options *options, unsigned char *base)
{
    size_t sum = 0, rooms = options->rooms, people = options->members < PEOPLE_MAX ? options->members : PEOPLE_MAX;
    size_t at_rooms, at_room_buckets, at_members, at_buckets, at_states, at_batch, at_rings;

    store->room_bucket_count = power_above(rooms);
    store->member_bucket_count = power_above(options->members);
    store->ring_size = options->history < SIZE_MAX / 4 ? options->history + STORE_FRAME_MAX : SIZE_MAX;
    store->people_size = STATE_HEAD + people * PERSON_MAX;
    if (store->people_size > STORE_STATE_MAX) store->people_size = STORE_STATE_MAX;
    at_rooms = take(&sum, rooms, sizeof(struct store_room));
    at_room_buckets = take(&sum, store->room_bucket_count, sizeof(uint32_t));
    assert(options->members <= STORE_MEMBERS_MAX);
    at_members = take(&sum, rooms, options->members * sizeof(struct store_member));
    at_buckets = take(&sum, rooms, 2 * store->member_bucket_count * sizeof(place));
    at_states = take(&sum, rooms, store->people_size + TYPING_SIZE);
    at_batch = take(&sum, 1, BATCH_SIZE);
    at_rings = take(&sum, rooms, store->ring_size);
    if (base == NULL || sum == SIZE_MAX) return sum;
    store->rooms = (struct store_room *)(void *)(base + at_rooms);
    store->room_buckets = (uint32_t *)(void *)(base + at_room_buckets);
    store->all_members = (struct store_member *)(void *)(base + at_members);
    store->all_buckets = (place *)(void *)(base + at_buckets);
    store->all_states = base + at_states;
    store->batch.bytes = base + at_batch;
    store->batch.size = BATCH_SIZE;
    store->all_rings = base + at_rings;
    return sum;
}

size_t store_memory(const struct store_options *options)
{
    struct store store;
    size_t size = lay_out(&store, options, NULL);

    return size == SIZE_MAX ? SIZE_MAX : size + sizeof store;
}

/* FILE resolved, in memory of its own with room for a suffix: its folder must exist, itself need not. */
static char *resolve(const char *file)
{
    const char *slash = strrchr(file, '/'), *name = slash != NULL ? slash + 1 : file;
    char *folder, *real = realpath(file, NULL), *path = NULL;

    if (real == NULL && errno == ENOENT && *name != '\0') {
        folder = slash == NULL ? strdup(".") : strndup(file, (size_t)(slash - file) + 1);
        real = folder != NULL ? realpath(folder, NULL) : NULL;
        free(folder);
    } else {
        name = "";
    }
    if (real != NULL) path = malloc(strlen(real) + strlen(name) + 2);
    if (path != NULL) (void)sprintf(path, "%s%s%s", real, *name != '\0' && real[1] != '\0' ? "/" : "", name);
    free(real);
    return path;
}

static char *with_suffix(const char *path, const char *suffix)
{
    char *whole = malloc(strlen(path) + strlen(suffix) + 1);

    if (whole != NULL) (void)sprintf(whole, "%s%s", path, suffix);
    return whole;
}

/* The folder that the file PATH, resolved, is in. */
static char *folder_of(const char *path)
{
    size_t length = (size_t)(strrchr(path, '/') - path);

    return strndup(path, length > 0 ? length : 1);
}

/* A rewrite would replace /dev/null. Returns -1 and a sentence for what is there, but no file. */
static int check_regular(const struct store *store, char *reason)
{
    struct stat status;

    if (stat(store->path, &status) != 0 || S_ISREG(status.st_mode)) return 0;
    (void)snprintf(reason, STORE_REASON_SIZE, "%.300s is no regular file; name another with -f.", store->path);
    return -1;
}

/* Only one server at a time: a lock on FILE.lock, since FILE itself is replaced by a rewrite. */
static int lock(struct store *store, char *reason)
{
    struct flock whole;

    memset(&whole, 0, sizeof whole);
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    store->lock_fd = disk.open(store->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0) {
        (void)snprintf(reason, STORE_REASON_SIZE, "%.300s can't be made (%s).", store->lock_path, strerror(errno));
        return -1;
    }
    if (fcntl(store->lock_fd, F_SETLK, &whole) == 0) return 0;
    if (errno == EAGAIN || errno == EACCES) {
        (void)snprintf(reason, STORE_REASON_SIZE,
                       "%.300s is used by another snug; stop that or name another file with -f.",
                       store->path);
    } else {
        (void)snprintf(reason, STORE_REASON_SIZE, "%.300s can't be locked (%s).", store->lock_path, strerror(errno));
    }
    return -1;
}

/* Whether what was passed over at the end is a crash's trace: one record at most, or a piece of its kind, or zeros. */
static int is_torn_record(const struct load *load)
{
    if (load->torn == 0 || load->torn_starts > 1 || load->torn_frames > 1 || load->torn_marks > RECORD_MAX) return 0;
    return load->torn_starts == 1 || load->torn < sizeof ":message " || load->torn_marks == 0;
}

/* Does away with what load_file passed over, and says so. */
static void mend(struct store *store, const struct load *load, struct store_time now)
{
    int is_torn = is_torn_record(load), old_fd = store->fd;

    store->size = load->offset;
    if (load->offset == 0) return;
    if (load->bad > 0 || (load->torn > 0 && !is_torn)) {
        tell(store, "%s is damaged: %llu bytes in %llu places were dropped.", store->path,
             (unsigned long long)(load->bad + load->torn),
             (unsigned long long)(load->bad_regions + (load->torn > 0)));
        store->is_to_keep = store->options.sync == STORE_SYNC_EXIT; /* not at each start until then */
        if (store->is_to_keep) return;
        store->is_kept = keep_damaged(store) == 0;
        store_rewrite(store, now);
        settle(store, now);
        if (store->fd != old_fd) return; /* it is a new file, even if an fsync has failed since */
        if (store->is_kept || load->torn == 0) return; /* else records can't follow what is torn */
    } else if (is_torn) {
        if (store->options.sync == STORE_SYNC_EXIT) return; /* it is written anew as a whole, and not before */
        tell(store, "%s ended in a torn record: %llu bytes were cut off.", store->path, (unsigned long long)load->torn);
    } else {
        return;
    }
    store->size = load->good_end;
    store->torn = 1;
    if (cut_torn(store) != 0) set_fault(store, errno);
}

/* NUMBER moved on; after a million starts it stays, so as not to come to its end. */
static uint64_t moved(struct store *store, uint64_t number)
{
    return number < NUMBER_END / 2 ? number + draw(store, MOVE_MIN, MOVE_MAX) : number;
}

/* Moves every room's numbers on, so that what a power cut lost is never numbered again. */
static void move_numbers(struct store *store, struct store_time now)
{
    struct store_room *room;
    int result = 0;

    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        if (room->name_length == 0) continue;
        room->next_id = moved(store, room->next_id);
        room->next_by = moved(store, room->next_by);
        store->batch.length = 0;
        put_room_record(&store->batch, room, now);
        if (result == 0) result = append(store, room, now); /* a fault is told; on a full disk the draw must do */
    }
}

static int read_file(struct store *store, struct store_time now, char *reason)
{
    struct load load;
    int result = -1;

    memset(&load, 0, sizeof load);
    load.store = store;
    load.now = now;
    load.reason = reason;
    store->fd = disk.open(store->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (store->fd < 0) {
        (void)snprintf(reason, STORE_REASON_SIZE, "%.300s can't be opened for writing (%s).", store->path,
                       strerror(errno));
        return -1;
    }
    load.window = malloc(LOAD_SIZE);
    if (load.window == NULL) (void)snprintf(reason, STORE_REASON_SIZE, "There is not enough memory.");
    else result = load_file(&load);
    if (result == 0) {
        (void)fchmod(store->fd, 0600); /* it was 0600 when it was made; who may not change it can't be helped */
        mend(store, &load, now);
        move_numbers(store, now);
        store->is_renamed = store->options.sync != STORE_SYNC_EXIT; /* it may be new, or a rewrite was cut short */
        settle(store, now);
    }
    free(load.window);
    return result;
}

static void free_store(struct store *store)
{
    stop_syncer(store);
    if (store->fd >= 0) (void)disk.close(store->fd);
    if (store->lock_fd >= 0) (void)disk.close(store->lock_fd);
    free(store->path);
    free(store->lock_path);
    free(store->new_path);
    free(store->kept_path);
    free(store->folder);
    free(store->block);
    free(store);
}

struct store *store_open(const struct store_options *options, struct store_time now, char reason[STORE_REASON_SIZE])
{
    struct store *store = calloc(1, sizeof *store);
    size_t size = store_memory(options);

    reason[0] = '\0';
    if (store == NULL) goto no_memory;
    store->fd = store->lock_fd = store->rewrite.fd = -1;
    store->syncer.pid = store->syncer.ask_fd = store->syncer.answer_fd = -1;
    store->options = *options;
    store->unsynced_ms = -1;
    store->keep_ms = now.mono_ms;
    store->retry_ms = now.mono_ms;
    store->due_ms = INT64_MAX;
    store->seed = options->seed;
    make_crc_table(store->crc_table);
    store->path = resolve(options->file);
    if (store->path == NULL) {
        (void)snprintf(reason, STORE_REASON_SIZE, "%.300s can't be made or opened (%s).", options->file,
                       strerror(errno));
        goto failed;
    }
    store->lock_path = with_suffix(store->path, ".lock");
    store->new_path = with_suffix(store->path, ".new");
    store->kept_path = with_suffix(store->path, ".damaged-4294967295");
    store->folder = folder_of(store->path);
    if (store->lock_path == NULL || store->new_path == NULL || store->kept_path == NULL || store->folder == NULL) {
        goto no_memory;
    }
    if (check_regular(store, reason) != 0) goto failed;
    start_syncer(store);
    if (lock(store, reason) != 0) goto failed;
    if (size != SIZE_MAX) store->block = calloc(1, size - sizeof *store);
    if (store->block == NULL) goto no_memory;
    (void)lay_out(store, options, store->block);
    if (read_file(store, now, reason) != 0) goto failed;
    store->is_running = 1;
    return store;
no_memory:
    (void)snprintf(reason, STORE_REASON_SIZE, "There is not enough memory: %zu KiB are needed.", size / 1024);
failed:
    if (store != NULL) free_store(store);
    return NULL;
}

const char *store_path(const struct store *store) { return store->path; }

/* Writes how long everyone has been away, so that a kill forgets an hour of it at most. */
static void keep_absences(struct store *store, struct store_room *room, struct store_time now)
{
    struct store_member *member = member_at(room, room->first);

    do {
        struct out *batch = &store->batch;
        size_t sum_at, start;
        batch->length = 0;
        sum_at = begin_record(batch, ":absent ");
        put_time(batch, deserted(room, now));
        put_byte(batch, ' ');
        for (start = batch->length; member != NULL && batch->length < ABSENT_RECORD_MAX;
             member = member_at(room, member->next)) {
            if (batch->length > start) put_byte(batch, ',');
            put_number(batch, member->by);
            put_byte(batch, '=');
            put_time(batch, absence(member, now));
        }
        put_byte(batch, ' ');
        put_room(batch, room);
        put(batch, "\n\n");
        end_record(store, batch, sum_at);
        if (append(store, room, now) != 0) return; /* told; the next hour or a rewrite makes up for it */
    } while (member != NULL);
}

/* Does what the rooms are due for. */
static void tick_rooms(struct store *store, struct store_time now)
{
    struct store_room *room;

    store->due_ms = INT64_MAX;
    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        if (room->name_length == 0) continue;
        if (room->due_ms <= now.mono_ms) tick_room(room, now);
        else room_is_due(room, room->due_ms);
    }
}

int store_sync_fd(const struct store *store) { return store->syncer.answer_fd; }

uint64_t store_mark(const struct store *store) { return store->written; }

int store_lasts(const struct store *store, uint64_t mark)
{
    return store->options.sync != STORE_SYNC_ALWAYS || mark <= store->synced_mark;
}

/* An empty house need not be woken for it. */
static int keeps_absences(const struct store *store)
{
    return store->here > 0 && store->options.sync != STORE_SYNC_EXIT;
}

static void keep_all_absences(struct store *store, struct store_time now)
{
    struct store_room *room;

    store->keep_ms = now.mono_ms;
    for (room = store->rooms; room < store->rooms + store->rooms_used; room++) {
        if (room->name_length > 0) keep_absences(store, room, now);
    }
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t store_tick(struct store *store, struct store_time now)
{
    int64_t due_ms;

    if (store->due_ms <= now.mono_ms) tick_rooms(store, now);
    if (keeps_absences(store) && now.mono_ms - store->keep_ms >= KEEP_MS) keep_all_absences(store, now);
    if (wants_rewrite(store, now)) store_rewrite(store, now);
    step_rewrite(store, now);
    if (now.mono_ms >= round_ms(store)) begin_round(store, now);
    if (store->rewrite.fd >= 0 && !awaits_sync(store)) return 0;
    due_ms = earlier(store->due_ms, round_ms(store));
    if (keeps_absences(store)) due_ms = earlier(due_ms, store->keep_ms + KEEP_MS);
    if (store->behind && store->rewrite.fd < 0) due_ms = earlier(due_ms, store->retry_ms);
    if (due_ms == INT64_MAX) return -1;
    return due_ms > now.mono_ms ? due_ms - now.mono_ms : 0;
}

int store_close(struct store *store, struct store_time now)
{
    int error;

    stop_syncer(store);
    if (store->round != 0) store->unsynced_ms = now.mono_ms; /* what it was at is done again */
    store->is_running = store->round = 0;
    if (store->rewrite.is_syncing) abandon_rewrite(store, now); /* its fsync may have failed, and a second one not */
    store_rewrite(store, now);
    settle(store, now);
    error = store->rewrite_fault != 0 ? store->rewrite_fault : store->lost;
    free_store(store);
    errno = error;
    return error == 0 ? 0 : -1;
}
