/* store.h: the rooms of a chat, their members, messages and states, and the file that keeps them.
 *
 * The life of a store: store_open takes memory and reads the data file; then members join, send, come and go, readers
 * draw what they have not seen, store_tick is called when it asks for it; store_close writes the file anew.
 *
 * A message is encoded once, as the event-stream frame that readers get (`id: ..\ndata: {json}\n\n`). It goes to the
 * file by one write() and only then into its room's ring, a byte ring of whole frames. A reader is a cursor in it.
 *
 * The store knows neither sockets nor clocks nor chance: time, random numbers and digests come from its caller. It
 * keeps no pointer it is given, bar the options' strings and callbacks, and never prints. */
#ifndef STORE_H
#define STORE_H

#include <stddef.h>
#include <stdint.h>

#define STORE_NAME_MAX 64      /* bytes of a member's or a room's name */
#define STORE_FOLDED_MAX 96    /* the same in lower case: two bytes may become three */
#define STORE_TEXT_MAX 4000    /* bytes of a text, CRLF counted as LF */
#define STORE_FRAME_MAX 8448   /* a text of STORE_TEXT_MAX bytes, all escaped, with its name, id and time */
#define STORE_STATE_MAX 32768  /* a state's event */
#define STORE_NOTE_MAX 512     /* the events made for one reader: `you`, `gap` */
#define STORE_QUOTED_MAX 130   /* a name as a JSON string */
#define STORE_LIST_MAX 14336   /* what store_list writes */
#define STORE_KEY_SIZE 32      /* the SHA-256 of a member's token */
#define STORE_REASON_SIZE 512  /* a sentence about a failed start, with a path */
#define STORE_HISTORY_MIN 8192
#define STORE_MEMBERS_MAX 65535

struct store;
struct store_room;
struct store_member;

struct store_bytes {
    const unsigned char *at; /* NULL: absent */
    size_t length;
};

struct store_time {
    int64_t wall_ms; /* since 1970 UTC: for the time that messages show, and nothing else */
    int64_t mono_ms; /* of a clock that never jumps: for everything that lasts */
};

/* TOKENS may be spent per PERIOD_S seconds, at once or one by one. 0 tokens: no limit. */
struct store_rate {
    int64_t tokens;
    int64_t period_s;
};

/* A token bucket; all zeros is a full one. */
struct store_bucket {
    int64_t full_us; /* when it will be full again, microseconds of the monotonic clock */
};

enum store_result {
    STORE_OK,
    STORE_BAD,      /* what was given is no valid name or text */
    STORE_TAKEN,    /* the name is somebody else's */
    STORE_NO_ROOM,  /* there are as many rooms as there may be, and none gives way */
    STORE_NO_PLACE, /* the room has as many names as it may have, and none gives way */
    STORE_BUSY,     /* over the rate */
    STORE_BEHIND,   /* the ring is full of messages that wait for an fsync: nothing has changed (but for a rate) */
    STORE_FULL      /* the data file can't be written: nothing has changed (but for a rate), errno says why */
};

/* When the data file is fsynced. */
enum store_sync {
    STORE_SYNC_SECOND, /* a second after a message at most */
    STORE_SYNC_ALWAYS, /* before a message is shown: see store_lasts */
    STORE_SYNC_EXIT    /* at the end or when told to: until then it is not even written */
};

/* A canonical name: blanks trimmed and made one. Rooms also in lower case (their path is that of these bytes). */
struct store_name {
    size_t length;
    unsigned char bytes[STORE_FOLDED_MAX];
};

struct store_options {
    const char *file;           /* path of the data file */
    size_t rooms, history, members;
    int64_t hold_ms;            /* how long an absent holder keeps a name */
    struct store_rate rate;     /* messages of a member; four times that of an address */
    enum store_sync sync;
    uint64_t seed;              /* random, drawn anew for each start */
    void *context;
    /* ROOM has news for its readers, or they must look whether they are still members. */
    void (*changed)(void *context, size_t room);
    /* More of what was written lasts: whoever waits for store_lasts may ask again. */
    void (*synced)(void *context);
    /* SENTENCE is for who runs the server: a lasting fault began or ended, a record was dropped. */
    void (*tell)(void *context, const char *sentence);
};

/* ---- the store ---- */

/* Bytes that store_open will take, all that the store ever needs; SIZE_MAX if that is more than can be counted. */
size_t store_memory(const struct store_options *options);

/* Forks the child that fsyncs, locks FILE.lock, takes memory, reads the file, cuts a torn end, keeps a damaged file
 * beside, moves each room's numbers on. OPTIONS are copied. Returns NULL and a sentence in REASON on failure. */
struct store *store_open(const struct store_options *options, struct store_time now, char reason[STORE_REASON_SIZE]);

/* Does what is due: writes states, notices who has gone, has the file fsynced, goes on with a rewrite. Returns in how
 * many ms it wants to be called again, -1: no time; what is called between may make that sooner. */
int64_t store_tick(struct store *store, struct store_time now);

/* The descriptor on which the child that fsyncs answers, -1: there is none, and the loop waits for fsyncs. */
int store_sync_fd(const struct store *store);

/* Takes the child's answer: to be called when that descriptor is readable. */
void store_synced(struct store *store, struct store_time now);

/* How far is written now; and whether what was written up to MARK outlasts a power cut as far as options.sync demands
 * it before an answer: with STORE_SYNC_ALWAYS after an fsync, else at once. */
uint64_t store_mark(const struct store *store);
int store_lasts(const struct store *store, uint64_t mark);

/* Begins to write the file anew; store_tick goes on with it. A failure is told, and tried again later. */
void store_rewrite(struct store *store, struct store_time now);

/* Writes the file anew, and gives back all memory. Returns -1 with errno if that failed: the old file stands. */
int store_close(struct store *store, struct store_time now);

/* The path of the data file, resolved. */
const char *store_path(const struct store *store);

/* ---- names ---- */

/* Makes the canonical name of TEXT. STORE_BAD: *REASON is a sentence, good for ever. */
enum store_result store_member_name(struct store_bytes text, struct store_name *name, const char **reason);
enum store_result store_room_name(struct store_bytes text, struct store_name *name, const char **reason);

/* Writes TEXT as a JSON string, quotes included, to OUT_TEXT: 2 * length + 2 bytes at most. Returns its length. */
size_t store_quote(struct store_bytes text, char *out_text);

/* ---- rooms and members ---- */

/* The room called NAME (canonical), NULL if there is none. */
struct store_room *store_find(struct store *store, const struct store_name *name);

/* 0 to options.rooms - 1, the same as long as the room lasts. */
size_t store_number(const struct store_room *room);

/* The member of ROOM whose token has this KEY, NULL if there is none. Good until the member leaves or gives way,
 * which `changed` tells. */
struct store_member *store_member(struct store_room *room, const unsigned char key[STORE_KEY_SIZE]);

struct store_room *store_room(const struct store_member *member);
struct store_bytes store_room_called(const struct store_room *room);
struct store_bytes store_called(const struct store_member *member);
uint64_t store_by(const struct store_member *member);

/* Spends COST tokens of BUCKET. STORE_BUSY: nothing is spent, *WAIT_MS says how long until there are enough. */
enum store_result store_spend(struct store_bucket *bucket, struct store_rate rate, int64_t cost, struct store_time now,
                              int64_t *wait_ms);

/* Makes the holder of KEY the member NAME of ROOM, and the room if it is new: *MEMBER. Who gives way where something
 * is full is the design's, section 3. */
enum store_result store_join(struct store *store, const struct store_name *room, const struct store_name *name,
                             const unsigned char key[STORE_KEY_SIZE], struct store_time now,
                             struct store_member **member);

/* Gives MEMBER another name: STORE_OK, STORE_TAKEN or STORE_FULL. */
enum store_result store_rename(struct store_member *member, const struct store_name *name, struct store_time now);

/* MEMBER is no more; its name is free. */
void store_leave(struct store_member *member, struct store_time now);

/* MEMBER is typing: for 6 s, or until it sends or leaves. */
void store_typing(struct store_member *member, struct store_time now);

/* MEMBER is here for 90 s at least: it has asked for something. */
void store_seen(struct store_member *member, struct store_time now);

/* The rooms that people or messages are in, those with a dot in front aside, as JSON to OUT_TEXT, which holds
 * STORE_LIST_MAX bytes. Returns its length. */
size_t store_list(const struct store *store, char *out_text);

/* ---- messages ---- */

struct store_nonce {
    int given;
    uint64_t digest;
};

struct store_receipt {
    uint64_t id;
    int64_t t;
    uint64_t mark;      /* it is to be answered when store_lasts up to here */
    int64_t wait_ms;    /* STORE_BUSY */
    const char *reason; /* STORE_BAD: a sentence, good for ever */
};

/* Says TEXT in MEMBER's room. A NONCE among its last 8 says nothing again: *RECEIPT is the first one's. ADDRESS is the
 * bucket of where it comes from, NULL if exempt. STORE_OK, STORE_BAD, STORE_BUSY, STORE_BEHIND, STORE_FULL: see
 * RECEIPT. */
enum store_result store_send(struct store_member *member, struct store_bytes text, struct store_nonce nonce,
                             struct store_bucket *address, struct store_time now, struct store_receipt *receipt);

/* ---- readers ---- */

/* Where a reader stands. Kept by the caller, changed by the functions below alone. */
struct store_cursor {
    struct store_member *member;
    uint64_t by;                   /* of the member: its place may be given to another */
    uint64_t at;                   /* offset in the room's ring */
    uint64_t end;                  /* an array's last offset */
    uint32_t people, typing, you;  /* versions seen */
    uint32_t within;               /* bytes taken of a state */
    unsigned char part;            /* what the last span is of */
    unsigned char due;             /* what is still to be told of a stream's opening */
};

/* What a reader has seen. */
struct store_after {
    enum { STORE_AFTER_NONE, STORE_AFTER_ID, STORE_AFTER_UNREADABLE } kind;
    uint64_t id;
};

enum store_next {
    STORE_NOTHING, /* all is taken */
    STORE_BYTES,   /* lasting bytes: of the ring or a state */
    STORE_NOTE,    /* in SCRATCH, for this reader alone: take it whole */
    STORE_END      /* overtaken inside an event, or no member any more */
};

/* Begins an event stream for MEMBER, which is here until store_unfollow and 5 s on. */
void store_follow(struct store_cursor *cursor, struct store_member *member, struct store_after after,
                  struct store_time now);

/* What comes next for CURSOR, in *SPAN; NOTEs are made in SCRATCH of STORE_NOTE_MAX bytes. */
enum store_next store_next(struct store_cursor *cursor, unsigned char *scratch, struct store_bytes *span);

/* COUNT bytes of that are with the reader. */
void store_took(struct store_cursor *cursor, size_t count);

void store_unfollow(struct store_cursor *cursor, struct store_time now);

/* Begins a JSON array of the messages after AFTER, up to the newest there is now, for MEMBER. Returns whether there
 * are any. */
int store_select(struct store_cursor *cursor, struct store_member *member, struct store_after after);

/* MEMBER waits for a message: it is here until store_unwait and 5 s on. */
void store_wait(struct store_cursor *cursor, struct store_time now);
void store_unwait(struct store_cursor *cursor, struct store_time now);

/* Whether the member of CURSOR is still one. */
int store_is_member(const struct store_cursor *cursor);

/* Moves the end of CURSOR's array to the newest message. Returns whether there are any. */
int store_reselect(struct store_cursor *cursor);

/* The next piece of the array in *SPAN, made in SCRATCH of SIZE bytes (a frame fits), the same again until
 * store_took_array. STORE_END: overtaken. */
enum store_next store_next_array(struct store_cursor *cursor, unsigned char *scratch, size_t size,
                                 struct store_bytes *span);
void store_took_array(struct store_cursor *cursor);

struct store_message {
    uint64_t id, by;
    int64_t t;
    struct store_bytes name, text; /* as they were sent, no longer JSON */
};

/* Puts CURSOR behind the newest message that MEMBER may see. */
void store_look_back(struct store_cursor *cursor, struct store_member *member);

/* Moves CURSOR before the next older message, and gives that in *MESSAGE, whose name and text lie in SCRATCH of
 * STORE_FRAME_MAX bytes. Returns 0 if none older is held. */
int store_previous(struct store_cursor *cursor, unsigned char *scratch, struct store_message *message);

#endif
