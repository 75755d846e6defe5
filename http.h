/* http.h: an HTTP/1.1 server in one poll() loop, for one thread, without an allocation after its start.
 *
 * The life of a server: http_open takes memory and ports, http_turn is called over and over, http_close gives all
 * back. In a turn the server reads requests and hands each to the application's `check` (the head is there) and
 * `handle` (the content too). The application answers with one call of the section "answers". An answer that is
 * longer than a buffer, or never ends, is drawn from the application's `next` whenever the peer has room for more.
 *
 * Functions return 0 or -1 with errno unless they say otherwise. Nothing here prints or exits. All text is bytes with
 * a length, not ended by a NUL, and lies in the server's memory: it is good until the callback returns. */
#ifndef HTTP_H
#define HTTP_H

#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 8192      /* request line and fields */
#define HTTP_CONTENT_MAX 16384  /* content of a request, decoded */
#define HTTP_FIELDS_MAX 100     /* fields of a request */
#define HTTP_DIGITS_MAX 20      /* of a number */
#define HTTP_PAIRS_MAX 32       /* fields of a form */
#define HTTP_ANSWER_MAX 14848   /* a formatted answer: its own fields and body */
#define HTTP_SPAN_MAX 16384     /* bytes that `next` may format at once */
#define HTTP_DIGEST_SIZE 32     /* SHA-256 */
#define HTTP_BASE64_SIZE 45     /* a digest in base64, and a NUL */
#define HTTP_ADDRESS_SIZE 16    /* an IPv6 address; an IPv4 one is mapped (RFC 4291, 2.5.5.2) */
#define HTTP_REASON_SIZE 256    /* a sentence about a failed start */

struct http_server;
struct http_connection;
struct http_channel;

struct http_bytes {
    const unsigned char *at; /* NULL: absent */
    size_t length;
};

/* Methods of RFC 9110, 9.3 and RFC 5789, as bits so that a set of them is a sum. HTTP_OTHER never reaches `check`. */
enum http_method {
    HTTP_OTHER = 0,
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_DELETE = 16,
    HTTP_CONNECT = 32,
    HTTP_OPTIONS = 64,
    HTTP_TRACE = 128,
    HTTP_PATCH = 256
};

struct http_field {
    struct http_bytes name, value; /* the value without blanks around it */
};

/* A request, parsed where it was read. */
struct http_request {
    struct http_connection *connection;
    enum http_method method;
    int minor;                   /* HTTP/1.minor: 0 or 1 */
    struct http_bytes path;      /* as sent, begins with '/'; "*" or an authority for OPTIONS and CONNECT */
    struct http_bytes query;     /* after the '?'; absent without one */
    struct http_bytes authority; /* Host, or that of an absolute target; absent in HTTP/1.0 without one */
    unsigned char *content;      /* the application may change it in place */
    size_t content_length;
    struct http_field fields[HTTP_FIELDS_MAX];
    size_t field_count;
};

/* What `next` yields. */
enum http_next {
    HTTP_NOTHING, /* all is sent for now (event stream), or for good (pulled answer) */
    HTTP_BYTES,   /* span->at, length: stay good and the same until `took`, or are made again the same */
    HTTP_NOTE,    /* likewise, but can't be made again: the server keeps what does not go out at once */
    HTTP_END      /* what the peer has is broken or ended: close */
};

struct http_span {
    const unsigned char *at;
    size_t length;
    unsigned char *scratch; /* HTTP_SPAN_MAX bytes to format into, good until the next call */
};

/* The application. Every callback gets CONTEXT. CURSOR is the connection's own memory of options.cursor_size bytes. */
struct http_app {
    void *context;
    /* The head of REQUEST is there, its content perhaps not. Returns 0 to go on, -1 if it has answered (it refused).
     * May be called again for the same request: it must change nothing. */
    int (*check)(void *context, struct http_request *request);
    /* REQUEST is whole: answers it by one call of the section "answers". */
    void (*handle)(void *context, struct http_request *request);
    /* The next span of a stream or pulled answer. Must give the same again until `took` says it went out. */
    enum http_next (*next)(void *context, void *cursor, struct http_span *span);
    /* COUNT bytes of the last span are with the peer. A pulled answer's span is taken whole only. */
    void (*took)(void *context, void *cursor, size_t count);
    /* The channel of a held request was woken, or (EXPIRED) its time is over: answers or holds again. */
    void (*resume)(void *context, struct http_connection *connection, int expired);
    /* A connection ended while it streamed, was held or pulled: the cursor is not used again. */
    void (*gone)(void *context, void *cursor);
    /* Whether what is kept with an address (options.peer_size bytes, zeros at first) may be forgotten. */
    int (*forgettable)(void *context, const void *peer);
};

struct http_time {
    int64_t wall_ms; /* since 1970 UTC */
    int64_t mono_ms; /* of a clock that never jumps */
};

struct http_options {
    const char *address;  /* numeric; NULL: every address, IPv6 and IPv4 */
    uint16_t port;        /* 0: any free one */
    size_t sockets;       /* bound already, to listen on instead, from descriptor HTTP_PASSED_FD on; 0: opens its own */
    size_t connections;   /* at once, at most */
    size_t peer;          /* connections at once from one address; 0: no limit; loopback is exempt, proxies too */
    const unsigned char (*proxies)[HTTP_ADDRESS_SIZE]; /* for their requests X-Forwarded-For is believed; not copied */
    size_t proxy_count;
    size_t channels;      /* numbered from 0 */
    size_t cursor_size;   /* bytes kept for the application with each connection */
    size_t peer_size;     /* bytes kept for it with each address */
    const char *fields;   /* fields sent with every answer, each with its CRLF; not copied */
};

/* ---- the server ---- */

/* Bytes that http_open will take, all that the server ever needs; SIZE_MAX if that is more than can be counted. */
size_t http_memory(const struct http_options *options);

/* Takes memory and the listening ports. OPTIONS and APP are copied. Returns NULL and a sentence in REASON on failure;
 * errno is EADDRINUSE if the port is taken. */
struct http_server *http_open(const struct http_options *options, const struct http_app *app,
                              char reason[HTTP_REASON_SIZE]);

/* The port it listens on. */
uint16_t http_port(const struct http_server *server);

/* Descriptors needed beside the connections: listeners. */
#define HTTP_LISTENERS_MAX 2
#define HTTP_PASSED_FD 3

/* Calls READY(context) in a turn in which FD is readable. At most HTTP_WATCHES_MAX; FD stays the caller's. */
#define HTTP_WATCHES_MAX 4
void http_watch(struct http_server *server, int fd, void (*ready)(void *context), void *context);

/* Watches FD no more: to be called when it is closed, before its number is another's. */
void http_unwatch(struct http_server *server, int fd);

/* The clocks, for whoever needs the time before there is a server. */
struct http_time http_clock(void);

/* The time of this turn: the clocks are read once, when poll() returns. */
struct http_time http_now(const struct http_server *server);

/* One turn: waits for work WAIT_MS at most (-1: as long as it takes), does it, then sends what woken channels have.
 * Returns -1 with errno if poll() fails for good. */
int http_turn(struct http_server *server, int64_t wait_ms);

/* Closes every connection at once, and gives back all memory. */
void http_close(struct http_server *server);

/* ---- channels: those who wait for the same news ---- */

struct http_channel *http_channel(struct http_server *server, size_t number);

/* Whoever streams or is held on CHANNEL is served at the end of this turn. */
void http_wake(struct http_server *server, struct http_channel *channel);

/* ---- reading a request ---- */

/* The value of the first field called NAME (lower case) from *POSITION on, and moves *POSITION behind it; absent if
 * there is none. POSITION may be NULL: from the first. */
struct http_bytes http_field(const struct http_request *request, const char *name, size_t *position);

/* How far the cookies of a request are read; all zeros at first. */
struct http_place {
    size_t field;
    struct http_bytes rest;
};

/* The value of the next cookie called NAME (RFC 6265, 5.4) from *PLACE on; absent if there is none. */
struct http_bytes http_cookie(const struct http_request *request, const char *name, struct http_place *place);

/* Whether the comma list of VALUE (RFC 9110, 5.6.1) has an element ELEMENT (lower case), its parameters cut off. */
int http_has_element(struct http_bytes value, const char *element);

/* A value of a form (WHATWG URL, 5.1). */
struct http_pair {
    const char *name;
    struct http_bytes value; /* decoded; absent if not in the form */
};

/* Decodes FORM in place (application/x-www-form-urlencoded) and finds the COUNT PAIRS by name. Others are passed over.
 * Returns -1 if a name is there twice, an escape is broken, or there are more than HTTP_PAIRS_MAX. */
int http_form(unsigned char *form, size_t length, struct http_pair *pairs, size_t count);

/* Undoes percent-encoding (RFC 3986, 2.1) of TEXT into OUT of SIZE bytes. Returns the length, or -1: an escape is
 * broken (EINVAL) or OUT too small (ENOSPC). '+' stays. */
long http_percent_decode(struct http_bytes text, unsigned char *out, size_t size);

/* Percent-encodes all but RFC 3986's unreserved characters into OUT, which holds 3 * length + 1 bytes; ends it with a
 * NUL. Returns the length. */
size_t http_percent_encode(struct http_bytes text, char *out);

/* Reads the decimal number that is all of TEXT, MOST at most. Returns -1 if it is none or more: no sign, no blank. */
int http_number(struct http_bytes text, uint64_t most, uint64_t *number);

/* Writes NUMBER at OUT in decimal, HTTP_DIGITS_MAX bytes at most and no NUL. Returns how many. */
size_t http_digits(uint64_t number, char *out);

struct http_date {
    unsigned year, month, day, hour, minute, second; /* month and day from 1 */
};

/* The date in UTC of SECOND, counted from the beginning of 1970; not negative. */
struct http_date http_date(int64_t second);

/* Reads a numeric address, perhaps with a port or in brackets. Returns -1 if it is none. */
int http_address(struct http_bytes text, unsigned char address[HTTP_ADDRESS_SIZE]);

int http_equals(struct http_bytes bytes, const char *text);         /* the same bytes */
int http_equals_folded(struct http_bytes bytes, const char *text);  /* ASCII case aside; TEXT in lower case */
int http_begins_folded(struct http_bytes bytes, const char *text);  /* likewise their beginning */

/* ---- answers: one call for each request ---- */

struct http_answer {
    int status;         /* RFC 9110, 15 */
    const char *type;   /* Content-Type; NULL without a body */
    const char *fields; /* more fields, each with its CRLF, or NULL */
    const void *body;
    size_t length;      /* with the fields HTTP_ANSWER_MAX at most, unless it is lasting */
    int lasting;        /* BODY outlives the connection and is sent from where it lies; else it is copied */
};

/* Answers. HEAD gets all but the body. A request refused with its content unread closes the connection. */
void http_reply(struct http_connection *connection, const struct http_answer *answer);

/* Answers with an error: SENTENCE, one plain line that says what to do next, without its newline. FIELDS or NULL. */
void http_refuse(struct http_connection *connection, int status, const char *fields, const char *sentence);

/* Answers 200 with an event stream (WHATWG HTML, 9.2), drawn from `next` now and whenever CHANNEL is woken. It ends
 * with its connection. FIELDS or NULL. */
void http_stream(struct http_connection *connection, struct http_channel *channel, const char *fields);

/* Answers 200 with JSON drawn from `next` until HTTP_NOTHING: chunked, or until close to HTTP/1.0. HTTP_END breaks it
 * off so that the peer knows. FIELDS or NULL. */
void http_pull(struct http_connection *connection, const char *fields);

/* Answers later: `resume` is called when CHANNEL is woken or the time (mono_ms) is DEADLINE_MS. */
void http_hold(struct http_connection *connection, struct http_channel *channel, int64_t deadline_ms);

/* Instead of an answer to a held request: closes the connection. */
void http_drop(struct http_connection *connection);

/* ---- connections ---- */

void *http_cursor(struct http_connection *connection); /* options.cursor_size bytes */
void *http_peer(struct http_connection *connection);   /* options.peer_size bytes, shared by those of one address */
int http_is_loopback(const struct http_connection *connection); /* the client is on this machine */

/* Whether the client may have one more stream or held request: behind a proxy they count for it, as its connections do
 * elsewhere (options.peer). */
int http_may_wait(const struct http_connection *connection);
int http_is_head(const struct http_connection *connection); /* the request that is being answered was HEAD */

/* ---- digests ---- */

void http_sha256(const void *bytes, size_t length, unsigned char digest[HTTP_DIGEST_SIZE]);        /* FIPS 180-4 */
void http_base64(const unsigned char digest[HTTP_DIGEST_SIZE], char text[HTTP_BASE64_SIZE]);       /* RFC 4648, 4 */

#endif
