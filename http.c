/* http.c: sockets, poll(), HTTP/1.1 (RFC 9110, 9112), forms, event streams. Knows nothing of chat.
 *
 * One thread, one loop, all memory taken at start. A connection is small; what is read or could not be written yet
 * lies in a buffer of a fixed pool, and every connection gives its buffers back as soon as it can:
 *
 *     recv() -> in buffer -> head, content -> the application -> out buffer -> send()
 *                                                  `-> lasting bytes, sent from where they lie
 *
 * The poll set has two parts. The busy part holds connections that owe us a request or have no room for our bytes; the
 * quiet part holds streams and held requests, of which a third is looked at each second. Of the busy part a turn polls
 * those that did something of late, and all if they are few, if enough time has passed, or if there is nothing to do. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include "http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- limits ---- */

#define REQUEST_MS 10000       /* from a request's first byte to the end of its head; from there to the content's end */
#define IDLE_MS 75000          /* between requests: longer than proxies' */
#define STALL_MS 60000         /* a peer that takes nothing for so long is closed */
#define LINGER_MS 2000         /* so long we read on behind a last answer, so that no reset overtakes it */
#define BEAT_MS 20000          /* a stream that was silent so long gets a comment */
#define SWEEP_MS 1000          /* between two looks at a part of the quiet connections: */
#define SWEEP_PARTS 3          /* each is looked at every 3 s */
#define SWEEP_SLICE 512        /* in one turn */
#define LOOK_MS 100            /* between two looks at all of them, when there is no room for a newcomer */
#define ACTIVE_MS 1000         /* a connection rests when it did nothing for so long, or twice as long; */
#define RESTING_PER_MS 100     /* so many resting ones are polled a millisecond while others keep us busy, */
#define RESTING_MS 40          /* and each so often at least */
#define FAN_OUT_SLICE 256      /* readers served between two looks at the busy part */
#define TURN_BYTES (1 << 20)   /* sent to one connection in one turn */
#define ACCEPT_SLICE 64        /* connections accepted in one turn */
#define ANSWER_SLICE 16        /* requests of one connection answered in one turn, */
#define ANSWER_BYTES 4096      /* fewer if the answers are as long as this */
#define PAUSE_MS 200           /* when the system has no descriptor or memory for what we ask */
#define VANISHED_MS 30000      /* unacknowledged bytes end a stream (TCP_USER_TIMEOUT) */
#define STREAM_SNDBUF 32768    /* the kernel doubles it: 64 KiB */
#define BACKLOG 511
#define PENDING_MAX 8192       /* answers wait for each other up to so many bytes, and leave together */
#define HEAD_OVERHEAD 1536     /* what an answer's head has beside its own fields */
#define EXTENSION_MAX 4096     /* chunk extensions of a request in all */
#define CHUNK_DIGITS 8         /* of a chunk's size */
#define REFUSED_MAX 8          /* connections over the limit that wait for their 503 to be read */
#define BUFFERS_PER 16         /* one buffer for so many connections, */
#define BUFFERS_MIN 2          /* but so many at least, */
#define BUFFERS_MAX 64         /* and at most */
#define BUFFERS_FREE 2         /* and these besides, for the one connection at work: in and out */
#define PEERS_MIN 64           /* addresses remembered: as many as connections, but so many at least */
#define FORGET_TRIES 32        /* addresses asked whether one can be forgotten */
#define BUFFER_SIZE (HTTP_HEAD_MAX + HTTP_CONTENT_MAX + 512)

typedef char pending_and_answer_fit[PENDING_MAX + HTTP_ANSWER_MAX + HEAD_OVERHEAD <= BUFFER_SIZE ? 1 : -1];
typedef char pending_and_span_fit[PENDING_MAX + HTTP_SPAN_MAX <= BUFFER_SIZE ? 1 : -1];

/* ---- the system, as tests see it ---- */

static int set_flags(int fd, int command, int flags) { return fcntl(fd, command, flags); }

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0) return 0; /* POSIX: only for a clock that is not there */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct http_calls {
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout_ms);
    int (*accept)(int fd, struct sockaddr *address, socklen_t *length);
    ssize_t (*recv)(int fd, void *bytes, size_t size, int flags);
    ssize_t (*send)(int fd, const void *bytes, size_t size, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    int (*fcntl)(int fd, int command, int flags);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t length);
    int (*shutdown)(int fd, int how);
    int (*close)(int fd);
    int64_t (*clock)(clockid_t clock);
} net = {poll, accept, recv, send, sendmsg, set_flags, setsockopt, shutdown, close, read_clock};

/* ---- types ---- */

struct link {
    struct link *next, *prev; /* to itself: in no list */
};

/* How far the content of a request is decoded (RFC 9112, 7.1); named for what is awaited. */
enum chunk_state {
    CHUNK_SIZE,
    EXTENSION_NAME,  /* its first byte */
    EXTENSION_NAMED, /* its rest, or what ends it */
    EXTENSION_VALUE,
    EXTENSION_VALUED,
    EXTENSION_QUOTED,
    EXTENSION_ESCAPED,
    EXTENSION_END,   /* behind quotes */
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    TRAILER_LINE, /* or the CR of the last line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    CHUNKS_DONE
};

enum framing { NO_CONTENT, SIZED, CHUNKED };

/* Bytes read and not taken, or formatted and not sent: start to end. The rest is about an incomplete request. */
struct buffer {
    struct buffer *next_free;
    size_t start, end;
    size_t scanned;      /* no end of the head before this */
    size_t head_length;  /* 0: the head is not whole yet */
    enum framing framing;
    enum chunk_state chunk_state;
    size_t chunk_left;   /* bytes of this chunk, or of the content if SIZED */
    size_t chunk_digits;
    size_t extension, trailer; /* their bytes so far */
    size_t content_end;  /* decoded up to here */
    size_t raw;          /* chunked: the next byte to decode */
    unsigned char bytes[BUFFER_SIZE];
};

struct peer {
    struct link quiet;       /* in server->quiet_peers while it has no connection */
    unsigned char address[HTTP_ADDRESS_SIZE];
    size_t connections;      /* and what proxies have for it of streams and held requests */
    uint32_t next;           /* in the bucket, numbered from 1 */
    /* the application's bytes follow */
};

enum connection_state {
    FREE,            /* in free; open_connection: IDLE */
    IDLE,            /* between requests, in idle. read_input: any; IDLE_MS or make_room: FREE */
    READING_HEAD,    /* a part of one is there, in incomplete. read_input: any; REQUEST_MS: 408, CLOSING */
    READING_CONTENT, /* likewise */
    ANSWERING,       /* the peer has no room, or others have their turn, in stalled. advance: any; STALL_MS: FREE */
    HELD,            /* answered later, in held and in its channel. resume: any; the peer goes: FREE */
    STREAMING,       /* in its channel, in stalled while the peer has no room. the peer goes: FREE */
    CLOSING          /* all is said, in closing. the peer goes or LINGER_MS: FREE */
};

struct http_connection {
    struct http_server *server;
    struct link turn;             /* in the list of its state */
    struct link reader;           /* in channel->readers or channel->due */
    struct http_channel *channel;
    int64_t since_ms;             /* of its state; HELD: its deadline; STREAMING: of the last bytes sent */
    struct buffer *in, *out;      /* NULL: none */
    struct http_bytes body;       /* lasting bytes to be sent behind `out` */
    struct peer *peer;
    struct peer *client;          /* whose the request is: of a proxy's connection another than `peer` */
    int fd;
    unsigned spot;                /* in its part of the poll set */
    unsigned unit_sent;           /* bytes of the current chunk that are sent */
    unsigned char state;
    unsigned char is_quiet;       /* which part that is */
    unsigned char pulls;          /* ANSWERING from the application's `next` */
    unsigned char closes;         /* behind this answer */
    unsigned char minor, is_head; /* of the request that is being answered */
    unsigned char is_unread;      /* its content is not read: no other request can follow */
    unsigned char is_proxy;       /* the peer is one of options.proxies */
    unsigned char is_local;       /* the peer is on this machine */
    unsigned char is_loopback;    /* the client is */
    /* the application's cursor follows */
};

struct http_channel {
    struct link readers; /* who wait */
    struct link due;     /* who are to be served */
    struct link woken;   /* in server->woken while anybody is due */
};

struct watch {
    void (*ready)(void *context);
    void *context;
};

struct part {
    struct pollfd *fds;
    struct http_connection **owners;
    size_t count;
};

struct http_server {
    struct http_options options;
    struct http_app app;
    struct http_time now;
    uint16_t port;
    struct watch watches[HTTP_WATCHES_MAX];
    size_t listeners, fixed; /* the busy part begins with listeners, then watches: fixed in all */
    struct part busy, quiet;
    size_t active, recent;   /* the first of the busy part: active since active_ms; not yet resting */
    int64_t active_ms;
    int64_t polled_ms;       /* the resting ones were polled last */
    int found;               /* by the last poll() */
    struct link idle, incomplete, stalled, held, closing, free, woken, quiet_peers;
    size_t open;             /* connections that count for the limit */
    int64_t accept_ms;       /* no accept() before */
    int64_t held_ms;         /* the earliest deadline of `held`, or before it */
    int64_t sweep_ms;        /* the next sweep */
    size_t sweep_parts;      /* left of this round: */
    size_t sweep_at;         /* the quiet connections before this one; */
    size_t sweep_left;       /* so many of them are to be looked at now */
    int64_t look_ms;         /* no look at all of them before */
    struct buffer *buffers;
    struct buffer *free_buffers;      /* those given back; the ones never taken lie behind the first buffers_used */
    size_t free_buffer_count, buffer_count, buffers_used; /* free_buffer_count: of both kinds */
    struct http_channel *channels;
    unsigned char *block; /* all arrays lie in it */
    unsigned char *connections, *peers;
    size_t connection_size, peer_size, slots, slots_used, peer_count, peers_used, bucket_count;
    uint32_t *peer_buckets;
    unsigned char *scratch;  /* HTTP_SPAN_MAX bytes, for `next` and for what is thrown away */
    struct http_request request;
    int64_t date_s;
    char date[sizeof "Sun, 06 Nov 1994 08:49:37 GMT"];
};

/* ---- lists ---- */

static void link_init(struct link *link) { link->next = link->prev = link; }

static int is_linked(const struct link *link) { return link->next != link; }

static void unlink_from(struct link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link_init(link);
}

/* Moves LINK to the end of LIST. */
static void link_last(struct link *list, struct link *link)
{
    unlink_from(link);
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

/* Moves all of FROM to the end of TO. */
static void link_all(struct link *to, struct link *from)
{
    if (!is_linked(from)) return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    link_init(from);
}

#define CONTAINER(link, type, field) ((type *)(void *)((unsigned char *)(link) - offsetof(type, field)))

static struct http_connection *turn_of(struct link *link) { return CONTAINER(link, struct http_connection, turn); }

/* ---- text ---- */

static int lower(int byte) { return byte >= 'A' && byte <= 'Z' ? byte + 32 : byte; }

static int is_digit(int byte) { return byte >= '0' && byte <= '9'; }

static int is_alnum(int byte) { return is_digit(byte) || (lower(byte) >= 'a' && lower(byte) <= 'z'); }

static int hex_value(int byte)
{
    if (is_digit(byte)) return byte - '0';
    return lower(byte) >= 'a' && lower(byte) <= 'f' ? lower(byte) - 'a' + 10 : -1;
}

/* tchar (RFC 9110, 5.6.2): letters, digits and !#$%&'*+-.^_`|~, a bit for each byte below 128 */
static int is_token_byte(unsigned char byte)
{
    static const uint32_t set[4] = {0x00000000, 0x03FF6CFA, 0xC7FFFFFE, 0x57FFFFFF};

    return byte < 128 && (set[byte / 32] >> byte % 32 & 1) != 0;
}

static int is_token(struct http_bytes bytes)
{
    size_t i;

    for (i = 0; i < bytes.length && is_token_byte(bytes.at[i]); i++) continue;
    return bytes.length > 0 && i == bytes.length;
}

static int is_blank_byte(int byte) { return byte == ' ' || byte == '\t'; }

/* Bytes of a field's value (RFC 9110, 5.5) */
static int is_value_byte(unsigned char byte) { return byte >= ' ' ? byte != 0x7F : byte == '\t'; }

/* Whether one of the eight bytes at AT is below ' ' or DEL: most of a head is values, so they are looked at in words.
 * With N taken from each byte, those below N get a highest bit that they lack (and borrow, which can mislead about the
 * byte above, but only beside one that is below N). */
static int may_be_control(const unsigned char *at)
{
    const uint64_t ones = 0x0101010101010101U, tops = 0x80 * ones;
    uint64_t eight, is_del;

    memcpy(&eight, at, sizeof eight);
    is_del = eight ^ 0x7F * ones; /* 0, so below 1, where it is */
    return (((eight - ' ' * ones) & ~eight & tops) | ((is_del - ones) & ~is_del & tops)) != 0;
}

static int is_value(struct http_bytes bytes)
{
    size_t i = 0;

    while (i + 8 <= bytes.length && !may_be_control(bytes.at + i)) i += 8;
    while (i < bytes.length && is_value_byte(bytes.at[i])) i++;
    return i == bytes.length;
}

static struct http_bytes trim(struct http_bytes bytes)
{
    while (bytes.length > 0 && is_blank_byte(bytes.at[0])) {
        bytes.at++;
        bytes.length--;
    }
    while (bytes.length > 0 && is_blank_byte(bytes.at[bytes.length - 1])) bytes.length--;
    return bytes;
}

/* Cuts off what is before the next STOP, which is passed over; the rest is absent behind the last piece. */
static struct http_bytes cut(struct http_bytes *rest, unsigned char stop)
{
    struct http_bytes piece = *rest;
    const unsigned char *end = memchr(rest->at, stop, rest->length);

    if (end == NULL) {
        rest->at = NULL;
        rest->length = 0;
        return piece;
    }
    piece.length = (size_t)(end - piece.at);
    rest->at = end + 1;
    rest->length -= piece.length + 1;
    return piece;
}

int http_equals(struct http_bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && memcmp(bytes.at, text, bytes.length) == 0;
}

int http_begins_folded(struct http_bytes bytes, const char *text)
{
    size_t i;

    for (i = 0; text[i] != '\0'; i++) {
        if (i == bytes.length || lower(bytes.at[i]) != text[i]) return 0;
    }
    return 1;
}

int http_equals_folded(struct http_bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && http_begins_folded(bytes, text);
}

int http_has_element(struct http_bytes value, const char *element)
{
    while (value.at != NULL) {
        struct http_bytes rest = cut(&value, ',');
        if (http_equals_folded(trim(cut(&rest, ';')), element)) return 1;
    }
    return 0;
}

int http_number(struct http_bytes text, uint64_t most, uint64_t *number)
{
    size_t i;

    *number = 0;
    for (i = 0; i < text.length; i++) {
        uint64_t digit = (uint64_t)(text.at[i] - '0');
        if (!is_digit(text.at[i]) || *number > most / 10 || digit > most - *number * 10) return -1;
        *number = *number * 10 + digit;
    }
    return text.length > 0 ? 0 : -1;
}

size_t http_digits(uint64_t number, char *out)
{
    char digits[HTTP_DIGITS_MAX];
    size_t i = sizeof digits;

    do {
        digits[--i] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(out, digits + i, sizeof digits - i);
    return sizeof digits - i;
}

struct http_date http_date(int64_t second)
{
    int64_t day = second / 86400, left = second % 86400, era_day, year, month;
    struct http_date date;

    /* Days since 1 March of year 0, in years that begin in March: leap days come last. */
    era_day = (day + 719468) % 146097;
    year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146096) / 365;
    era_day -= 365 * year + year / 4 - year / 100;
    year += (day + 719468) / 146097 * 400;
    month = (5 * era_day + 2) / 153;
    date.day = (unsigned)(era_day - (153 * month + 2) / 5 + 1);
    date.year = (unsigned)(year + (month >= 10));
    date.month = (unsigned)((month + 2) % 12 + 1);
    date.hour = (unsigned)(left / 3600);
    date.minute = (unsigned)(left / 60 % 60);
    date.second = (unsigned)(left % 60);
    return date;
}

/* ---- SHA-256 (FIPS 180-4) ---- */

static uint32_t rotate(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

static void sha256_block(uint32_t state[8], const unsigned char block[64])
{
    static const uint32_t k[64] = {
        0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5, 0xD807AA98,
        0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174, 0xE49B69C1, 0xEFBE4786,
        0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA, 0x983E5152, 0xA831C66D, 0xB00327C8,
        0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967, 0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13,
        0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85, 0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819,
        0xD6990624, 0xF40E3585, 0x106AA070, 0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A,
        0x5B9CCA4F, 0x682E6FF3, 0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7,
        0xC67178F2};
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7], w[64];
    int i;

    for (i = 0; i < 16; i++, block += 4) {
        w[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    }
    for (; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7] +
               (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    for (i = 0; i < 64; i++) {
        uint32_t x = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + k[i] + w[i];
        uint32_t y = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
        h = g;
        g = f;
        f = e;
        e = d + x;
        d = c;
        c = b;
        b = a;
        a = x + y;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

static void put_word(uint32_t word, unsigned char at[4])
{
    at[0] = (unsigned char)(word >> 24);
    at[1] = (unsigned char)(word >> 16);
    at[2] = (unsigned char)(word >> 8);
    at[3] = (unsigned char)word;
}

void http_sha256(const void *bytes, size_t length, unsigned char digest[HTTP_DIGEST_SIZE])
{
    uint32_t state[8] = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
                         0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19};
    const unsigned char *at = bytes;
    unsigned char last[128] = {0};
    size_t left = length, size, i;

    for (; left >= 64; left -= 64, at += 64) sha256_block(state, at);
    if (left > 0) memcpy(last, at, left);
    last[left] = 0x80;
    size = left < 56 ? 64 : 128;
    put_word((uint32_t)((uint64_t)length >> 29), last + size - 8);
    put_word((uint32_t)length << 3, last + size - 4);
    for (i = 0; i < size; i += 64) sha256_block(state, last + i);
    for (i = 0; i < HTTP_DIGEST_SIZE; i += 4) put_word(state[i / 4], digest + i);
}

void http_base64(const unsigned char digest[HTTP_DIGEST_SIZE], char text[HTTP_BASE64_SIZE])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i, bit;

    for (i = 0; i < 43; i++) {
        unsigned pair;
        bit = i * 6;
        pair = (unsigned)digest[bit / 8] << 8 | (bit / 8 + 1 < HTTP_DIGEST_SIZE ? digest[bit / 8 + 1] : 0U);
        text[i] = digits[pair >> (10 - bit % 8) & 63];
    }
    text[43] = '=';
    text[44] = '\0';
}

/* ---- percent-encoding, forms, cookies ---- */

/* Whether every '%' begins an escape (RFC 3986, 2.1). */
static int has_whole_escapes(struct http_bytes text)
{
    for (;;) {
        (void)cut(&text, '%');
        if (text.at == NULL) return 1;
        if (text.length < 2 || hex_value(text.at[0]) < 0 || hex_value(text.at[1]) < 0) return 0;
    }
}

long http_percent_decode(struct http_bytes text, unsigned char *out, size_t size)
{
    size_t length = 0;

    if (!has_whole_escapes(text)) {
        errno = EINVAL;
        return -1;
    }
    for (;;) {
        struct http_bytes piece = cut(&text, '%');
        if (piece.length + (text.at != NULL) > size - length) {
            errno = ENOSPC;
            return -1;
        }
        if (piece.length > 0) memmove(out + length, piece.at, piece.length);
        length += piece.length;
        if (text.at == NULL) return (long)length;
        out[length++] = (unsigned char)((unsigned)hex_value(text.at[0]) << 4 | (unsigned)hex_value(text.at[1]));
        text.at += 2;
        text.length -= 2;
    }
}

size_t http_percent_encode(struct http_bytes text, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t i, length = 0;

    for (i = 0; i < text.length; i++) {
        unsigned char byte = text.at[i];
        if (is_alnum(byte) || (byte > 0 && strchr("-._~", byte) != NULL)) {
            out[length++] = (char)byte;
            continue;
        }
        out[length++] = '%';
        out[length++] = hex[byte >> 4];
        out[length++] = hex[byte & 15];
    }
    out[length] = '\0';
    return length;
}

/* Decodes a name or value of a form where it lies. */
static int decode_piece(struct http_bytes *piece, unsigned char *form)
{
    unsigned char *at = form; /* the same bytes, which may be changed */
    long length;

    while ((at = memchr(at, '+', piece->length - (size_t)(at - form))) != NULL) *at = ' ';
    length = http_percent_decode(*piece, form, piece->length);
    if (length < 0) return -1;
    piece->length = (size_t)length;
    return 0;
}

static int is_among(const struct http_bytes *names, size_t count, struct http_bytes name)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (names[i].length == name.length && memcmp(names[i].at, name.at, name.length) == 0) return 1;
    }
    return 0;
}

int http_form(unsigned char *form, size_t length, struct http_pair *pairs, size_t count)
{
    struct http_bytes rest = {form, length}, names[HTTP_PAIRS_MAX];
    size_t i, name_count = 0;

    for (i = 0; i < count; i++) {
        pairs[i].value.at = NULL;
        pairs[i].value.length = 0;
    }
    while (rest.at != NULL) {
        struct http_bytes value = cut(&rest, '&'), name = cut(&value, '=');
        if (decode_piece(&name, form + (name.at - form)) != 0) return -1;
        if (value.at == NULL) value.at = name.at + name.length; /* a name alone has an empty value */
        if (decode_piece(&value, form + (value.at - form)) != 0) return -1;
        if (name.length + value.length == 0) continue; /* nothing between two ampersands */
        if (name_count == HTTP_PAIRS_MAX || is_among(names, name_count, name)) return -1;
        names[name_count++] = name;
        for (i = 0; i < count && !http_equals(name, pairs[i].name); i++) continue;
        if (i < count) pairs[i].value = value;
    }
    return 0;
}

struct http_bytes http_field(const struct http_request *request, const char *name, size_t *position)
{
    struct http_bytes none = {NULL, 0};
    size_t i = position != NULL ? *position : 0, length = strlen(name);

    for (; i < request->field_count; i++) {
        if (request->fields[i].name.length == length && http_begins_folded(request->fields[i].name, name)) break;
    }
    if (position != NULL) *position = i < request->field_count ? i + 1 : i;
    return i < request->field_count ? request->fields[i].value : none;
}

struct http_bytes http_cookie(const struct http_request *request, const char *name, struct http_place *place)
{
    struct http_bytes none = {NULL, 0};

    for (;;) {
        while (place->rest.at != NULL) {
            struct http_bytes value = cut(&place->rest, ';'), cookie = trim(cut(&value, '='));
            if (value.at != NULL && http_equals(cookie, name)) return trim(value);
        }
        place->rest = http_field(request, "cookie", &place->field);
        if (place->rest.at == NULL) return none;
    }
}

/* ---- what can be wrong with a request ---- */

static const struct status {
    int status;
    const char *phrase;   /* RFC 9110, 15 */
    const char *sentence; /* where http.c has to say it */
} statuses[] = {
    {200, "OK", NULL},
    {204, "No Content", NULL},
    {303, "See Other", NULL},
    {304, "Not Modified", NULL},
    {308, "Permanent Redirect", NULL},
    {400, "Bad Request", "That is not a request as RFC 9112 has it; use a browser or curl."},
    {401, "Unauthorized", NULL},
    {403, "Forbidden", NULL},
    {404, "Not Found", NULL},
    {405, "Method Not Allowed", NULL},
    {408, "Request Timeout", "The rest of the request did not come in time; send it again."},
    {409, "Conflict", NULL},
    {413, "Content Too Large", "The content is larger than 16 KiB; send less."},
    {414, "URI Too Long", "The address is longer than 8 KiB; shorten it."},
    {415, "Unsupported Media Type", "Send a form: Content-Type: application/x-www-form-urlencoded."},
    {417, "Expectation Failed", "Of the Expect field only 100-continue is known; leave it out."},
    {421, "Misdirected Request", NULL},
    {429, "Too Many Requests", NULL},
    {431, "Request Header Fields Too Large", "The request's head has more than 8 KiB or 100 fields; send less."},
    {500, "Internal Server Error", NULL},
    {501, "Not Implemented", "That method or transfer coding is not known here; use GET or POST, and chunked."},
    {503, "Service Unavailable", "There are as many connections as there may be; try again in a minute."},
    {505, "HTTP Version Not Supported", "Only HTTP/1.1 and HTTP/1.0 are spoken here."},
    {507, "Insufficient Storage", NULL},
};

static const struct status *status_row(int status)
{
    const struct status *row = statuses;

    while (row->status != status) {
        row++;
        assert(row < statuses + sizeof statuses / sizeof statuses[0]); /* the application's promise */
    }
    return row;
}

/* ---- head (RFC 9112, 2 to 6) ---- */

static const struct {
    const char *name;
    enum http_method method;
} methods[] = {{"GET", HTTP_GET},         {"HEAD", HTTP_HEAD},       {"POST", HTTP_POST},
               {"PUT", HTTP_PUT},         {"DELETE", HTTP_DELETE},   {"CONNECT", HTTP_CONNECT},
               {"OPTIONS", HTTP_OPTIONS}, {"TRACE", HTTP_TRACE},     {"PATCH", HTTP_PATCH}};

static enum http_method method_of(struct http_bytes name)
{
    size_t i;

    for (i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (http_equals(name, methods[i].name)) return methods[i].method;
    }
    return HTTP_OTHER;
}

/* Whether TEXT, without a NUL in it, is an address of FAMILY, which goes to ADDRESS. */
static int read_address(int family, struct http_bytes text, void *address)
{
    char copy[INET6_ADDRSTRLEN];

    if (text.length >= sizeof copy) return 0;
    memcpy(copy, text.at, text.length);
    copy[text.length] = '\0';
    return inet_pton(family, copy, address) == 1;
}

/* uri-host [":" port], not empty (RFC 9110, 7.2); there is no NUL in it. */
static int is_authority(struct http_bytes authority)
{
    unsigned char address[HTTP_ADDRESS_SIZE];
    struct http_bytes literal = authority;
    size_t i = 0;

    if (authority.length > 0 && authority.at[0] == '[') {
        literal.at++;
        literal.length--;
        literal = cut(&literal, ']');
        i = literal.length + 2; /* with its brackets, if there are two */
        if (i > authority.length || !read_address(AF_INET6, literal, address)) return 0;
    } else {
        for (; i < authority.length && authority.at[i] != ':'; i++) {
            if (!is_alnum(authority.at[i]) && strchr("-._~%", authority.at[i]) == NULL) return 0;
        }
    }
    if (i == 0) return 0;
    if (i < authority.length && authority.at[i++] != ':') return 0;
    while (i < authority.length && is_digit(authority.at[i])) i++;
    return i == authority.length && has_whole_escapes(authority);
}

/* The target in its four forms (RFC 9112, 3.2). */
static int parse_target(struct http_request *request, struct http_bytes target)
{
    size_t i, scheme = 0;

    for (i = 0; i < target.length; i++) {
        if (target.at[i] <= ' ' || target.at[i] >= 0x7F || target.at[i] == '#') return 400;
    }
    if (request->method == HTTP_OTHER && target.at[0] != '/') return 0; /* who knows; it is not taken */
    if (request->method == HTTP_CONNECT) {
        request->path = target;
        if (!is_authority(target) || memchr(target.at, ':', target.length) == NULL) return 400;
        return is_digit(target.at[target.length - 1]) ? 0 : 400;
    }
    if (http_equals(target, "*")) {
        request->path = target;
        return request->method == HTTP_OPTIONS ? 0 : 400;
    }
    if (http_begins_folded(target, "http://")) scheme = 7;
    if (scheme > 0) {
        request->authority.at = target.at + scheme;
        for (i = scheme; i < target.length && target.at[i] != '/' && target.at[i] != '?'; i++) continue;
        request->authority.length = i - scheme;
        if (!is_authority(request->authority)) return 400;
        target.at += i;
        target.length -= i;
    }
    request->query = target;
    request->path = cut(&request->query, '?');
    if (scheme > 0 && request->path.length == 0) { /* http://host means http://host/ */
        request->path.at = (const unsigned char *)"/";
        request->path.length = 1;
    }
    if (request->path.length == 0 || request->path.at[0] != '/') return 400;
    if (!has_whole_escapes(request->path)) return 400;
    return request->query.at == NULL || has_whole_escapes(request->query) ? 0 : 400;
}

/* method SP target SP HTTP/1.x */
static int parse_request_line(struct http_request *request, struct http_bytes line)
{
    struct http_bytes method = cut(&line, ' '), target, version;
    int result;

    if (!is_token(method) || line.at == NULL) return 400;
    request->method = method_of(method);
    target = cut(&line, ' ');
    version = line;
    if (version.at == NULL || target.length == 0) return 400;
    if (version.length != 8 || memcmp(version.at, "HTTP/", 5) != 0) return 400;
    if (!is_digit(version.at[5]) || version.at[6] != '.' || !is_digit(version.at[7])) return 400;
    request->minor = version.at[7] == '0' ? 0 : 1; /* a later 1.x is answered as 1.1 (RFC 9110, 2.5) */
    result = parse_target(request, target);
    return result != 0 ? result : version.at[5] != '1' ? 505 : 0;
}

/* name ":" value, no blank before the colon, no folding (RFC 9112, 5) */
static int parse_field(struct http_field *field, struct http_bytes line)
{
    field->name = cut(&line, ':');
    field->value.at = NULL;
    field->value.length = 0;
    if (!is_token(field->name) || line.at == NULL || !is_value(line)) return 400;
    field->value = trim(line);
    return 0;
}

/* The only field called NAME. Returns 400 if there are several. */
static int only_field(const struct http_request *request, const char *name, struct http_bytes *value)
{
    size_t position = 0;

    *value = http_field(request, name, &position);
    return value->at != NULL && http_field(request, name, &position).at != NULL ? 400 : 0;
}

static int parse_host(struct http_request *request)
{
    struct http_bytes host;

    if (only_field(request, "host", &host) != 0) return 400;
    if (host.at == NULL) return request->minor == 0 ? 0 : 400;
    if (!is_authority(host)) return 400;
    if (request->authority.at == NULL) request->authority = host; /* else the target's counts (RFC 9112, 3.2.2) */
    return 0;
}

/* How the content is framed (RFC 9112, 6). *LENGTH is that of SIZED content, capped above what is taken. */
static int parse_framing(const struct http_request *request, enum framing *framing, size_t *length)
{
    struct http_bytes coding, size, last;
    uint64_t number = 0;
    size_t i;

    *framing = NO_CONTENT;
    if (only_field(request, "transfer-encoding", &coding) != 0) return 400;
    if (only_field(request, "content-length", &size) != 0) return 400;
    if (coding.at != NULL) {
        if (size.at != NULL || request->minor == 0) return 400;
        for (last = coding; coding.at != NULL;) last = trim(cut(&coding, ','));
        if (!http_equals_folded(last, "chunked")) return 400; /* its end can't be found */
        *framing = CHUNKED;
        coding = http_field(request, "transfer-encoding", NULL);
        if (http_equals_folded(coding, "chunked")) return 0;
        for (number = 0; coding.at != NULL;) number += (unsigned)http_equals_folded(trim(cut(&coding, ',')), "chunked");
        return number > 1 ? 400 : 501;
    }
    if (size.at == NULL) return 0;
    for (i = 0; i < size.length && is_digit(size.at[i]); i++) continue;
    if (i == 0 || i < size.length) return 400;
    if (http_number(size, HTTP_CONTENT_MAX, &number) != 0) number = HTTP_CONTENT_MAX + 1;
    *framing = number > 0 ? SIZED : NO_CONTENT;
    *length = (size_t)number;
    return 0;
}

/* Parses the LENGTH bytes of a whole head at AT. Returns 0 or the status that refuses it. */
static int parse_head(struct http_request *request, const unsigned char *at, size_t length)
{
    struct http_bytes rest, line;
    struct http_field field;
    int result, status = 0;

    memset(request, 0, offsetof(struct http_request, fields));
    request->field_count = 0;
    if (length < 4 || memcmp(at + length - 4, "\r\n\r\n", 4) != 0) return 400; /* a bare LF */
    rest.at = at;
    rest.length = length - 2; /* the empty line */
    for (line = cut(&rest, '\n'); rest.at != NULL; line = cut(&rest, '\n')) {
        if (line.length == 0 || line.at[line.length - 1] != '\r') return 400; /* a bare LF */
        line.length--;
        if (line.at == at) {
            result = parse_request_line(request, line);
            status = result;
        } else {
            result = parse_field(&field, line);
            if (request->field_count < HTTP_FIELDS_MAX) request->fields[request->field_count++] = field;
            else status = 431;
        }
        if (result == 400) return 400;
    }
    return status != 431 && parse_host(request) != 0 ? 400 : status; /* one field too many may be Host */
}

/* The length of the head in IN, its empty line with it; 0 if it is not whole. A bare LF ends lines here, so that it is
 * seen and refused. */
static size_t find_head_end(struct buffer *in)
{
    size_t i = in->scanned > in->start ? in->scanned : in->start;

    while (i < in->end) {
        const unsigned char *newline = memchr(in->bytes + i, '\n', in->end - i);
        if (newline == NULL) {
            in->scanned = in->end;
            return 0;
        }
        i = (size_t)(newline - in->bytes);
        in->scanned = i; /* what follows it decides */
        if (i + 1 < in->end && in->bytes[i + 1] == '\n') return i + 2 - in->start;
        if (i + 2 < in->end && in->bytes[i + 1] == '\r' && in->bytes[i + 2] == '\n') return i + 3 - in->start;
        if (i + 2 >= in->end && (i + 1 >= in->end || in->bytes[i + 1] == '\r')) return 0;
        i++;
    }
    return 0;
}

/* ---- chunked content (RFC 9112, 7.1) ---- */

static int decode_size_byte(struct buffer *in, unsigned char byte, size_t content_length)
{
    if (hex_value(byte) >= 0) {
        if (++in->chunk_digits > CHUNK_DIGITS) return 400;
        in->chunk_left = in->chunk_left << 4 | (size_t)hex_value(byte);
        return in->chunk_left > HTTP_CONTENT_MAX - content_length ? 413 : 0;
    }
    if (in->chunk_digits == 0 || (byte != ';' && byte != '\r')) return 400;
    in->chunk_state = byte == ';' ? EXTENSION_NAME : CHUNK_SIZE_LF;
    return 0;
}

/* One byte of a chunk's extensions (RFC 9112, 7.1.1), which are passed over. Blanks around their parts are refused. */
static int decode_extension_byte(struct buffer *in, unsigned char byte)
{
    enum chunk_state state = in->chunk_state, next;

    if (++in->extension > EXTENSION_MAX) return 400;
    if (state == EXTENSION_QUOTED || state == EXTENSION_ESCAPED) {
        next = EXTENSION_QUOTED;
        if (state == EXTENSION_QUOTED && byte == '"') next = EXTENSION_END;
        if (state == EXTENSION_QUOTED && byte == '\\') next = EXTENSION_ESCAPED;
        in->chunk_state = next;
        return is_value_byte(byte) ? 0 : 400;
    }
    if (is_token_byte(byte) && state != EXTENSION_END) {
        if (state == EXTENSION_NAME) in->chunk_state = EXTENSION_NAMED;
        if (state == EXTENSION_VALUE) in->chunk_state = EXTENSION_VALUED;
        return 0;
    }
    if (state == EXTENSION_NAME || (state == EXTENSION_VALUE && byte != '"')) return 400;
    if (state == EXTENSION_VALUE) in->chunk_state = EXTENSION_QUOTED;
    else if (byte == '=' && state == EXTENSION_NAMED) in->chunk_state = EXTENSION_VALUE;
    else if (byte == ';') in->chunk_state = EXTENSION_NAME;
    else if (byte == '\r') in->chunk_state = CHUNK_SIZE_LF;
    else return 400;
    return 0;
}

/* One byte of framing: all but the data. */
static int decode_chunk_byte(struct buffer *in, unsigned char byte, size_t content_length)
{
    if (in->chunk_state >= TRAILER_LINE && ++in->trailer > HTTP_HEAD_MAX) return 431;
    if (in->chunk_state >= EXTENSION_NAME && in->chunk_state <= EXTENSION_END) return decode_extension_byte(in, byte);
    switch (in->chunk_state) {
    case CHUNK_SIZE: return decode_size_byte(in, byte, content_length);
    case CHUNK_SIZE_LF: in->chunk_state = in->chunk_left > 0 ? CHUNK_DATA : TRAILER_LINE; break;
    case CHUNK_DATA_CR:
        in->chunk_state = CHUNK_DATA_LF;
        return byte == '\r' ? 0 : 400;
    case CHUNK_DATA_LF:
        in->chunk_state = CHUNK_SIZE;
        in->chunk_digits = 0;
        break;
    case TRAILER_LINE:
        in->chunk_state = byte == '\r' ? LAST_LF : TRAILER_NAME;
        return byte == '\r' || is_token_byte(byte) ? 0 : 400;
    case TRAILER_NAME:
        if (byte == ':') in->chunk_state = TRAILER_VALUE;
        return byte == ':' || is_token_byte(byte) ? 0 : 400;
    case TRAILER_VALUE:
        if (byte == '\r') in->chunk_state = TRAILER_LF;
        return byte == '\r' || is_value_byte(byte) ? 0 : 400;
    case TRAILER_LF: in->chunk_state = TRAILER_LINE; break;
    default: in->chunk_state = CHUNKS_DONE; break; /* LAST_LF */
    }
    return byte == '\n' ? 0 : 400;
}

/* Decodes what is there of the content, down to content_end. Returns 0 or the status that refuses it. */
static int decode_chunks(struct buffer *in)
{
    while (in->raw < in->end && in->chunk_state != CHUNKS_DONE) {
        size_t content_length = in->content_end - in->start - in->head_length, part = in->end - in->raw;
        int result;
        if (in->chunk_state != CHUNK_DATA) {
            result = decode_chunk_byte(in, in->bytes[in->raw++], content_length);
            if (result != 0) return result;
            continue;
        }
        if (part > in->chunk_left) part = in->chunk_left;
        memmove(in->bytes + in->content_end, in->bytes + in->raw, part);
        in->content_end += part;
        in->raw += part;
        in->chunk_left -= part;
        if (in->chunk_left == 0) in->chunk_state = CHUNK_DATA_CR;
    }
    if (in->chunk_state != CHUNKS_DONE) in->end = in->raw = in->content_end; /* all is decoded: room for more */
    return 0;
}

/* ---- buffers ---- */

static struct buffer *take_buffer(struct http_server *server)
{
    struct buffer *buffer = server->free_buffers;

    assert(server->free_buffer_count > 0); /* BUFFERS_FREE are kept for the connection at work: free_some_buffers */
    server->free_buffer_count--;
    if (buffer != NULL) {
        server->free_buffers = buffer->next_free;
    } else {
        buffer = &server->buffers[server->buffers_used++];
    }
    memset(buffer, 0, offsetof(struct buffer, bytes));
    return buffer;
}

/* Gives back a connection's buffer and forgets what is in it. */
static void give_buffer(struct http_server *server, struct buffer **buffer)
{
    if (*buffer == NULL) return;
    (*buffer)->next_free = server->free_buffers;
    server->free_buffers = *buffer;
    server->free_buffer_count++;
    *buffer = NULL;
}

static size_t pending(const struct http_connection *connection)
{
    return connection->out != NULL ? connection->out->end - connection->out->start : 0;
}

/* Adds bytes to what is to be sent; the limits see to it that they fit. */
static void put_bytes_out(struct http_connection *connection, const void *bytes, size_t length)
{
    struct buffer *out = connection->out != NULL ? connection->out : take_buffer(connection->server);

    connection->out = out;
    if (length > BUFFER_SIZE - out->end) {
        memmove(out->bytes, out->bytes + out->start, out->end - out->start);
        out->end -= out->start;
        out->start = 0;
    }
    assert(length <= BUFFER_SIZE - out->end);
    memcpy(out->bytes + out->end, bytes, length);
    out->end += length;
}

static void put_out(struct http_connection *connection, const char *text)
{
    put_bytes_out(connection, text, strlen(text));
}

static void put_number_out(struct http_connection *connection, uint64_t number)
{
    char digits[HTTP_DIGITS_MAX];

    put_bytes_out(connection, digits, http_digits(number, digits));
}

/* ---- connections ---- */

/* A connection's place in the poll set. */
static struct pollfd *poll_entry(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct part *part = connection->is_quiet ? &server->quiet : &server->busy;

    return &part->fds[connection->spot];
}

static void swap_entries(struct part *part, size_t i, size_t j)
{
    struct pollfd entry = part->fds[i];
    struct http_connection *owner = part->owners[i];

    part->fds[i] = part->fds[j];
    part->owners[i] = part->owners[j];
    part->fds[j] = entry;
    part->owners[j] = owner;
    part->owners[i]->spot = (unsigned)i;
    part->owners[j]->spot = (unsigned)j;
}

/* The entry at SPOT of the busy part does something: it comes to the front. */
static void wake_entry(struct http_server *server, size_t spot)
{
    if (spot >= server->recent) {
        swap_entries(&server->busy, spot, server->recent);
        spot = server->recent++;
    }
    if (spot >= server->active) swap_entries(&server->busy, spot, server->active++);
}

static void add_to_part(struct http_connection *connection, int is_quiet, short events)
{
    struct http_server *server = connection->server;
    struct part *part = is_quiet ? &server->quiet : &server->busy;
    struct pollfd *entry = &part->fds[part->count];

    entry->fd = connection->fd;
    entry->events = events;
    entry->revents = 0;
    part->owners[part->count] = connection;
    connection->spot = (unsigned)part->count++;
    connection->is_quiet = (unsigned char)is_quiet;
    if (!is_quiet) wake_entry(server, connection->spot);
}

/* The last entry moves into the gap, and in the busy part the last active one and the last recent one. What poll() said
 * of those is done, or dropped: loops go from the last to the first. */
static void drop_from_part(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct part *part = connection->is_quiet ? &server->quiet : &server->busy;

    if (!connection->is_quiet && connection->spot < server->active) {
        swap_entries(part, connection->spot, --server->active);
    }
    if (!connection->is_quiet && connection->spot < server->recent) {
        swap_entries(part, connection->spot, --server->recent);
    }
    part->fds[--part->count].revents = 0;
    swap_entries(part, connection->spot, part->count);
}

static void poll_for(struct http_connection *connection, int is_quiet, short events)
{
    if (connection->is_quiet == is_quiet) {
        poll_entry(connection)->events = events;
        return;
    }
    drop_from_part(connection);
    add_to_part(connection, is_quiet, events);
}

static unsigned char *peer_bytes(struct peer *peer) { return (unsigned char *)peer + sizeof *peer; }

void *http_cursor(struct http_connection *connection) { return (unsigned char *)connection + sizeof *connection; }

void *http_peer(struct http_connection *connection) { return peer_bytes(connection->client); }

int http_is_loopback(const struct http_connection *connection) { return connection->is_loopback; }

int http_is_head(const struct http_connection *connection) { return connection->is_head; }

/* A connection that is about to end does not count any more. */
static void uncount(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct peer *peer = connection->peer;

    server->open--;
    if (--peer->connections == 0) link_last(&server->quiet_peers, &peer->quiet);
}

/* A proxy's connection counts for its client while it streams or is held. */
static int is_for_another(const struct http_connection *connection)
{
    return (connection->state == HELD || connection->state == STREAMING) && connection->client != connection->peer;
}

static void count_client(struct http_connection *connection)
{
    if (is_for_another(connection) && connection->client->connections++ == 0) unlink_from(&connection->client->quiet);
}

static void uncount_client(struct http_connection *connection)
{
    struct peer *client = connection->client;

    if (is_for_another(connection) && --client->connections == 0) {
        link_last(&connection->server->quiet_peers, &client->quiet);
    }
}

int http_may_wait(const struct http_connection *connection)
{
    size_t limit = connection->server->options.peer;

    if (connection->client == connection->peer || connection->is_loopback || limit == 0) return 1;
    return connection->client->connections < limit;
}

/* Whether the application's cursor is in use. */
static int has_cursor(const struct http_connection *connection)
{
    return connection->state == HELD || connection->state == STREAMING || connection->pulls;
}

/* What the connection holds of ours goes back. */
static void strip(struct http_connection *connection)
{
    struct http_server *server = connection->server;

    if (has_cursor(connection)) server->app.gone(server->app.context, http_cursor(connection));
    uncount_client(connection);
    connection->pulls = 0;
    connection->body.length = 0;
    unlink_from(&connection->reader);
    give_buffer(server, &connection->in);
    give_buffer(server, &connection->out);
}

/* Ends a connection at once. */
static void close_connection(struct http_connection *connection)
{
    struct http_server *server = connection->server;

    strip(connection);
    if (connection->state != CLOSING) uncount(connection);
    drop_from_part(connection);
    (void)net.close(connection->fd); /* nothing can be done about it, and the descriptor is gone in any case */
    connection->state = FREE;
    link_last(&server->free, &connection->turn);
}

/* Ends a connection whose answers are sent: reads on for a moment, because closing with bytes unread would send a
 * reset that may overtake the answer (RFC 9112, 9.6). */
static void linger(struct http_connection *connection)
{
    struct http_server *server = connection->server;

    strip(connection);
    uncount(connection);
    connection->state = CLOSING;
    connection->since_ms = server->now.mono_ms;
    link_last(&server->closing, &connection->turn);
    poll_for(connection, 0, POLLIN);
    if (net.shutdown(connection->fd, SHUT_WR) != 0) close_connection(connection); /* the peer is gone */
}

/* Ends a connection so that its peer knows the answer was cut off. */
static void reset(struct http_connection *connection)
{
    struct linger at_once = {1, 0};

    (void)net.setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* else it is a FIN */
    close_connection(connection);
}

/* ---- sending ---- */

enum progress { SENT, BLOCKED, BROKEN };

/* Sends the parts by one call. Returns the bytes taken, 0 if there is no room, -1 if the peer is gone. */
static ssize_t send_parts(struct http_connection *connection, struct iovec *parts, size_t count)
{
    struct msghdr message;
    ssize_t sent;

    if (count == 1) {
        do sent = net.send(connection->fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
    } else {
        memset(&message, 0, sizeof message);
        message.msg_iov = parts;
        while (count-- > 0) message.msg_iovlen++; /* a size_t or an int, as the system has it */
        do sent = net.sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
    }
    if (sent > 0 && connection->state != HELD) connection->since_ms = connection->server->now.mono_ms;
    if (sent >= 0) return sent;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
}

static void add_part(struct iovec *parts, size_t *count, const unsigned char *at, size_t length)
{
    union {
        const void *in;
        void *out;
    } base; /* iovec serves readers too, so its base is not const */

    if (length == 0) return;
    base.in = at;
    parts[*count].iov_base = base.out;
    parts[(*count)++].iov_len = length;
}

/* Takes up to COUNT bytes off what waits in the out buffer. Returns how many. */
static size_t took_pending(struct http_connection *connection, size_t count)
{
    size_t length = pending(connection);

    if (count < length) length = count;
    if (length > 0) connection->out->start += length;
    if (connection->out != NULL && pending(connection) == 0) give_buffer(connection->server, &connection->out);
    return length;
}

/* Sends formatted bytes, and lasting ones behind them. */
static enum progress write_output(struct http_connection *connection)
{
    while (pending(connection) + connection->body.length > 0) {
        struct iovec parts[2];
        size_t count = 0, taken;
        ssize_t sent;
        if (pending(connection) > 0) {
            add_part(parts, &count, connection->out->bytes + connection->out->start, pending(connection));
        }
        add_part(parts, &count, connection->body.at, connection->body.length);
        sent = send_parts(connection, parts, count);
        if (sent <= 0) return sent == 0 ? BLOCKED : BROKEN;
        taken = (size_t)sent - took_pending(connection, (size_t)sent);
        if (taken == 0) continue; /* NULL + 0 is undefined in C */
        connection->body.at += taken;
        connection->body.length -= taken;
    }
    return SENT;
}

/* The parts of a span as they go out: what waits, then the span, in a chunk for a pulled answer in HTTP/1.1. */
static size_t span_parts(struct http_connection *connection, const struct http_span *span, char chunk_head[24],
                         struct iovec parts[4])
{
    size_t count = 0, skip = connection->unit_sent, i;

    if (connection->pulls && connection->minor > 0) {
        (void)sprintf(chunk_head, "%zx\r\n", span->length);
        add_part(parts, &count, (const unsigned char *)chunk_head, strlen(chunk_head));
        add_part(parts, &count, span->at, span->length);
        add_part(parts, &count, (const unsigned char *)"\r\n", 2);
    } else {
        add_part(parts, &count, span->at, span->length);
    }
    for (i = 0; i < count && skip > 0; i++) { /* what the peer has of this unit already */
        size_t part = parts[i].iov_len < skip ? parts[i].iov_len : skip;
        parts[i].iov_base = (unsigned char *)parts[i].iov_base + part;
        parts[i].iov_len -= part;
        skip -= part;
    }
    if (pending(connection) == 0) return count;
    memmove(parts + 1, parts, count * sizeof parts[0]);
    i = 0;
    add_part(parts, &i, connection->out->bytes + connection->out->start, pending(connection));
    return count + 1;
}

/* Sends a span. A stream's may be taken in part; a pulled answer's unit only whole, for it is made again. */
static enum progress write_span(struct http_connection *connection, const struct http_span *span)
{
    struct http_server *server = connection->server;
    struct iovec parts[4];
    char chunk_head[24];
    size_t i, count = span_parts(connection, span, chunk_head, parts), total = 0, taken;
    ssize_t sent;

    for (i = 0; i < count; i++) total += parts[i].iov_len;
    sent = send_parts(connection, parts, count);
    if (sent <= 0) return sent == 0 ? BLOCKED : BROKEN;
    taken = (size_t)sent - took_pending(connection, (size_t)sent);
    if (!connection->pulls) {
        server->app.took(server->app.context, http_cursor(connection), taken);
    } else if ((size_t)sent == total) {
        connection->unit_sent = 0;
        server->app.took(server->app.context, http_cursor(connection), span->length);
    } else {
        connection->unit_sent += (unsigned)taken;
    }
    return (size_t)sent == total ? SENT : BLOCKED;
}

/* Sends what waits and then what the application has, as long as the peer takes it. BROKEN: close. */
static enum progress write_source(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    enum progress progress = SENT;
    size_t budget = TURN_BYTES;

    while (progress == SENT) {
        struct http_span span = {NULL, 0, server->scratch};
        enum http_next next;
        if (pending(connection) > PENDING_MAX && (progress = write_output(connection)) != SENT) break; /* for a note */
        next = server->app.next(server->app.context, http_cursor(connection), &span);
        if (next == HTTP_END) return BROKEN;
        if (next == HTTP_NOTHING) {
            if (connection->pulls && connection->minor > 0) put_out(connection, "0\r\n\r\n");
            connection->pulls = 0;
            return write_output(connection);
        }
        if (next == HTTP_NOTE) {
            put_bytes_out(connection, span.at, span.length);
            server->app.took(server->app.context, http_cursor(connection), span.length);
            continue;
        }
        if (budget == 0) return BLOCKED; /* others shall have a turn */
        if (span.length > budget && !connection->pulls) span.length = budget;
        budget -= span.length < budget ? span.length : budget;
        progress = write_span(connection, &span);
    }
    return progress;
}

/* ---- answers ---- */

/* IMF-fixdate (RFC 9110, 5.6.7), made once a second. */
static const char *date_text(struct http_server *server)
{
    static const char days[] = "ThuFriSatSunMonTueWed", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t second = server->now.wall_ms > 0 ? server->now.wall_ms / 1000 : 0;
    struct http_date date;

    if (second == server->date_s) return server->date;
    server->date_s = second;
    date = http_date(second);
    (void)sprintf(server->date, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT", days + second / 86400 % 7 * 3,
                  date.day % 100, months + (date.month - 1) * 3, date.year % 10000, date.hour % 100, date.minute % 100,
                  date.second % 100);
    return server->date;
}

/* The head of an answer, but for its last, empty line. */
static void put_head(struct http_connection *connection, const struct status *row, const char *fields)
{
    struct http_server *server = connection->server;

    put_out(connection, "HTTP/1.1 ");
    put_number_out(connection, (uint64_t)row->status);
    put_out(connection, " ");
    put_out(connection, row->phrase);
    put_out(connection, "\r\nDate: ");
    put_out(connection, date_text(server));
    put_out(connection, "\r\n");
    if (connection->closes) put_out(connection, "Connection: close\r\n");
    else if (connection->minor == 0) put_out(connection, "Connection: keep-alive\r\n");
    put_out(connection, server->options.fields);
    if (fields != NULL) put_out(connection, fields);
}

static void put_type(struct http_connection *connection, const char *type)
{
    put_out(connection, "Content-Type: ");
    put_out(connection, type);
    put_out(connection, "\r\n");
}

void http_reply(struct http_connection *connection, const struct http_answer *answer)
{
    int has_body = answer->status != 204 && answer->status != 304; /* RFC 9110, 6.4.1 and 8.6 */

    if (connection->is_unread) connection->closes = 1;
    put_head(connection, status_row(answer->status), answer->fields);
    if (answer->type != NULL) put_type(connection, answer->type);
    if (has_body) {
        put_out(connection, "Content-Length: ");
        put_number_out(connection, answer->length);
        put_out(connection, "\r\n");
    }
    put_out(connection, "\r\n");
    connection->state = IDLE;
    if (!has_body || connection->is_head || answer->length == 0) return;
    if (answer->lasting) {
        connection->body.at = answer->body;
        connection->body.length = answer->length;
    } else {
        put_bytes_out(connection, answer->body, answer->length);
    }
}

void http_refuse(struct http_connection *connection, int status, const char *fields, const char *sentence)
{
    struct http_answer answer = {0, "text/plain; charset=utf-8", NULL, NULL, 0, 0};
    char line[512];

    (void)snprintf(line, sizeof line, "%s\n", sentence); /* ours are shorter */
    answer.status = status;
    answer.fields = fields;
    answer.body = line;
    answer.length = strlen(line);
    http_reply(connection, &answer);
}

/* Refuses what can't be read on: closes behind the answer. */
static void refuse_and_close(struct http_connection *connection, int status)
{
    connection->closes = 1;
    http_refuse(connection, status, NULL, status_row(status)->sentence);
}

void http_pull(struct http_connection *connection, const char *fields)
{
    int is_chunked = connection->minor > 0;

    if (!is_chunked || connection->is_unread) connection->closes = 1;
    put_head(connection, status_row(200), fields);
    put_type(connection, "application/json");
    if (is_chunked) put_out(connection, "Transfer-Encoding: chunked\r\n");
    put_out(connection, "\r\n");
    connection->state = IDLE;
    connection->unit_sent = 0;
    connection->pulls = !connection->is_head;
}

static void wait_on(struct http_connection *connection, struct http_channel *channel, enum connection_state state)
{
    connection->state = (unsigned char)state;
    connection->channel = channel;
    count_client(connection);
    link_last(&channel->readers, &connection->reader);
}

void http_hold(struct http_connection *connection, struct http_channel *channel, int64_t deadline_ms)
{
    struct http_server *server = connection->server;

    wait_on(connection, channel, HELD);
    connection->since_ms = deadline_ms;
    if (deadline_ms < server->held_ms) server->held_ms = deadline_ms;
    link_last(&server->held, &connection->turn);
}

void http_drop(struct http_connection *connection)
{
    connection->closes = 1;
    connection->state = IDLE;
}

static void set_option(struct http_connection *connection, int level, int name, int value)
{
    (void)net.setsockopt(connection->fd, level, name, &value, sizeof value); /* it works without, only worse */
}

void http_stream(struct http_connection *connection, struct http_channel *channel, const char *fields)
{
    connection->closes = 1;
    put_head(connection, status_row(200), fields);
    put_type(connection, "text/event-stream");
    put_out(connection, "\r\n");
    connection->state = IDLE;
    if (connection->is_head) return;
    set_option(connection, SOL_SOCKET, SO_SNDBUF, STREAM_SNDBUF);
#ifdef TCP_USER_TIMEOUT /* Linux; elsewhere TCP notices in its own time */
    set_option(connection, IPPROTO_TCP, TCP_USER_TIMEOUT, VANISHED_MS);
#endif
    wait_on(connection, channel, STREAMING);
    unlink_from(&connection->turn);
}

/* ---- addresses ---- */

/* What IPv4 addresses begin with as IPv6 ones (RFC 4291, 2.5.5.2). */
static const unsigned char v4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static int is_loopback(const unsigned char address[HTTP_ADDRESS_SIZE])
{
    static const unsigned char v6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

    return (memcmp(address, v4, sizeof v4) == 0 && address[sizeof v4] == 127) || memcmp(address, v6, sizeof v6) == 0;
}

static void address_bytes(const struct sockaddr_storage *from, unsigned char address[HTTP_ADDRESS_SIZE])
{
    memset(address, 0, 16);
    if (from->ss_family == AF_INET6) {
        memcpy(address, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        memcpy(address, v4, sizeof v4);
        memcpy(address + sizeof v4, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    }
}

int http_address(struct http_bytes text, unsigned char address[HTTP_ADDRESS_SIZE])
{
    struct http_bytes port = text;
    int is_literal = text.length > 0 && text.at[0] == '[';
    uint64_t number;

    (void)cut(&port, is_literal ? ']' : ':');
    if (is_literal) {
        if (port.at == NULL || (port.length > 0 && port.at[0] != ':')) return -1;
        text.at++;
        text.length--;
        text = cut(&text, ']');
        (void)cut(&port, ':');
    } else if (port.at != NULL && memchr(port.at, ':', port.length) == NULL) {
        text = cut(&text, ':');
    } else {
        port.at = NULL;
    }
    if (port.at != NULL && http_number(port, 65535, &number) != 0) return -1;
    memcpy(address, v4, sizeof v4);
    if (!is_literal && read_address(AF_INET, text, address + sizeof v4)) return 0;
    return read_address(AF_INET6, text, address) ? 0 : -1;
}

static struct peer *peer_at(struct http_server *server, size_t number)
{
    return (struct peer *)(void *)(server->peers + number * server->peer_size);
}

static uint32_t *peer_bucket(struct http_server *server, const unsigned char address[HTTP_ADDRESS_SIZE])
{
    uint32_t sum = 2166136261U; /* FNV-1a */
    size_t i;

    for (i = 0; i < 16; i++) sum = (sum ^ address[i]) * 16777619U;
    return &server->peer_buckets[sum & (server->bucket_count - 1)];
}

/* An entry that may serve another address, NULL if there is none. Who is asked in vain goes last: the next newcomer
 * asks others. */
static struct peer *forget_peer(struct http_server *server)
{
    size_t tries;

    for (tries = 0; tries < FORGET_TRIES && is_linked(&server->quiet_peers); tries++) {
        struct peer *peer = CONTAINER(server->quiet_peers.next, struct peer, quiet);
        uint32_t *from = peer_bucket(server, peer->address), number;
        link_last(&server->quiet_peers, &peer->quiet);
        number = (uint32_t)((size_t)((unsigned char *)peer - server->peers) / server->peer_size);
        if (number == 0 || !server->app.forgettable(server->app.context, peer_bytes(peer))) continue;
        while (*from != number) from = &peer_at(server, *from)->next;
        *from = peer->next;
        return peer;
    }
    return NULL;
}

/* The entry of an address, made if there is none. Entry 0 is shared by those for whom there is no room. */
static struct peer *find_peer(struct http_server *server, const unsigned char address[HTTP_ADDRESS_SIZE])
{
    uint32_t *bucket = peer_bucket(server, address), number;
    struct peer *peer;

    for (number = *bucket; number != 0; number = peer->next) {
        peer = peer_at(server, number);
        if (memcmp(peer->address, address, 16) == 0) return peer;
    }
    if (server->peers_used < server->peer_count) {
        peer = peer_at(server, server->peers_used++);
    } else {
        peer = forget_peer(server);
        if (peer == NULL) return peer_at(server, 0);
        unlink_from(&peer->quiet);
    }
    memset(peer, 0, server->peer_size);
    link_init(&peer->quiet);
    memcpy(peer->address, address, 16);
    bucket = peer_bucket(server, address);
    peer->next = *bucket;
    *bucket = (uint32_t)((size_t)((unsigned char *)peer - server->peers) / server->peer_size);
    link_last(&server->quiet_peers, &peer->quiet);
    return peer;
}

/* ---- requests ---- */

/* Whether a Connection field names OPTION (RFC 9110, 7.6.1). */
static int has_option(const struct http_request *request, const char *option)
{
    struct http_bytes value;
    size_t position = 0;

    while ((value = http_field(request, "connection", &position)).at != NULL) {
        if (http_has_element(value, option)) return 1;
    }
    return 0;
}

/* Prepares the connection for the answer to the request in server->request. */
static void begin_answer(struct http_connection *connection, int has_content)
{
    const struct http_request *request = &connection->server->request;

    connection->minor = (unsigned char)request->minor;
    connection->is_head = request->method == HTTP_HEAD;
    connection->is_unread = (unsigned char)has_content;
    connection->closes = has_option(request, "close") || (request->minor == 0 && !has_option(request, "keep-alive"));
}

/* Whether every field called NAME, if there is any, says VALUE. */
static int says_only(const struct http_request *request, const char *name, const char *value)
{
    struct http_bytes field;
    size_t position = 0;

    while ((field = http_field(request, name, &position)).at != NULL) {
        if (!http_equals_folded(field, value)) return 0;
    }
    return 1;
}

/* What http.c asks of a request that the application would take: 413, 415, 417. */
static int judge_content(const struct http_request *request, enum framing framing, size_t length)
{
    struct http_bytes type;

    if (framing == SIZED && length > HTTP_CONTENT_MAX) return 413;
    if (framing != NO_CONTENT && request->method == HTTP_POST) {
        if (only_field(request, "content-type", &type) != 0 || type.at == NULL) return 415;
        if (!http_equals_folded(trim(cut(&type, ';')), "application/x-www-form-urlencoded")) return 415;
        if (!says_only(request, "content-encoding", "identity")) return 415;
    }
    return request->minor > 0 && !says_only(request, "expect", "100-continue") ? 417 : 0;
}

/* The client of a request that a proxy passes on: the last address of X-Forwarded-For, which the proxy itself has put
 * there; without one, the proxy. */
static void find_client(struct http_connection *connection)
{
    const struct http_request *request = &connection->server->request;
    unsigned char address[HTTP_ADDRESS_SIZE];
    struct http_bytes value, last = {NULL, 0};
    size_t position = 0;

    connection->client = connection->peer;
    connection->is_loopback = connection->is_local;
    while ((value = http_field(request, "x-forwarded-for", &position)).at != NULL) {
        while (value.at != NULL) last = trim(cut(&value, ','));
    }
    if (last.at == NULL || http_address(last, address) != 0) return;
    connection->client = find_peer(connection->server, address);
    connection->is_loopback = (unsigned char)is_loopback(address);
}

/* Parses and judges the whole head in `in`. Returns 0 if its content is to be read, -1 if it is answered. */
static int judge_head(struct http_connection *connection, enum framing *framing, size_t *length)
{
    struct http_server *server = connection->server;
    struct http_request *request = &server->request;
    struct buffer *in = connection->in;
    int status = parse_head(request, in->bytes + in->start, in->head_length);
    int framing_status = status == 0 || status == 505 ? parse_framing(request, framing, length) : 0;

    if (framing_status == 400 || (status == 0 && framing_status != 0)) status = framing_status;
    if (status == 0 && request->method == HTTP_OTHER) status = 501;
    request->connection = connection;
    begin_answer(connection, status == 0 && *framing != NO_CONTENT);
    if (status != 0) {
        refuse_and_close(connection, status);
        return -1;
    }
    if (connection->is_proxy) find_client(connection);
    if (server->app.check(server->app.context, request) != 0) return -1;
    status = judge_content(request, *framing, *length);
    if (status == 0) return 0;
    if (status == 417) http_refuse(connection, status, NULL, status_row(status)->sentence);
    else refuse_and_close(connection, status);
    return -1;
}

/* Notes how the content is to be read, and asks for it if the client waits for that (RFC 9110, 10.1.1). */
static void begin_content(struct http_connection *connection, enum framing framing, size_t length)
{
    struct buffer *in = connection->in;
    int is_expected = http_field(&connection->server->request, "expect", NULL).at != NULL && connection->minor > 0;

    in->framing = framing;
    in->chunk_state = CHUNK_SIZE;
    in->chunk_left = framing == SIZED ? length : 0;
    in->content_end = in->raw = in->start + in->head_length;
    if (!is_expected || framing == NO_CONTENT || in->raw < in->end) return;
    put_out(connection, "HTTP/1.1 100 Continue\r\n\r\n");
}

/* Reads on in the content. Returns 1 if it is whole, 0 if more is needed, or the status that refuses it. */
static int read_content(struct buffer *in)
{
    int status;

    if (in->framing == CHUNKED) {
        status = decode_chunks(in);
        return status != 0 ? status : in->chunk_state == CHUNKS_DONE;
    }
    if (in->end - in->raw < in->chunk_left) return 0;
    in->raw += in->chunk_left;
    in->content_end = in->raw;
    return 1;
}

/* What is behind a request is the next one's. */
static void end_request(struct buffer *in, size_t next)
{
    in->start = in->scanned = in->raw = in->content_end = next;
    in->head_length = 0;
    in->chunk_digits = in->extension = in->trailer = 0;
}

/* Refuses what is no request that could be parsed. */
static void refuse_unparsed(struct http_connection *connection, int status)
{
    connection->minor = 1;
    connection->is_head = connection->is_unread = 0;
    refuse_and_close(connection, status);
}

/* What is wrong with a head, or the beginning of one, however it goes on. Returns 0 or the status that refuses it. */
static int judge_beginning(const unsigned char *at, size_t length)
{
    if (length == 0 || (length <= 2 && memcmp(at, "\r\n", length) == 0)) return 0; /* an empty line, perhaps */
    if (!is_token_byte(at[0])) return 400;                       /* TLS, perhaps */
    if (length <= HTTP_HEAD_MAX) return 0;
    return memchr(at, '\n', HTTP_HEAD_MAX) == NULL ? 414 : 431;
}

/* The length of the empty lines in front of a request, which are passed over (RFC 9112, 2.2). As long as nothing
 * follows they begin it, and its time runs: they can't keep a connection open. */
static size_t empty_lines(const struct buffer *in)
{
    size_t length = 0, left = in->end - in->start;

    while (left - length > 2 && memcmp(in->bytes + in->start + length, "\r\n", 2) == 0) length += 2;
    return length;
}

/* Whether the head in `in` is whole. One that can't become a head is refused at once. */
static int is_whole_head(struct http_connection *connection)
{
    struct buffer *in = connection->in;
    size_t length;
    int status;

    in->start += empty_lines(in);
    length = find_head_end(in);
    status = judge_beginning(in->bytes + in->start, length > 0 ? length : in->end - in->start);
    if (status != 0) {
        refuse_unparsed(connection, status);
        return 0;
    }
    in->head_length = length;
    return length > 0;
}

/* Takes the next request out of `in` and has it answered. Returns whether it was whole. */
static int take_request(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct http_request *request = &server->request;
    struct buffer *in = connection->in;
    enum framing framing = NO_CONTENT;
    size_t length = 0, head_end;
    int is_judged = in->head_length > 0, result = 0;

    if (!is_judged && !is_whole_head(connection)) return 0;
    head_end = in->start + in->head_length;
    if (is_judged) { /* only its content was missing */
        result = read_content(in);
        if (result == 0) return 0;
    }
    if (judge_head(connection, &framing, &length) != 0) { /* the second time for the fields, which were not kept */
        end_request(in, head_end);
        return 1;
    }
    if (!is_judged) {
        begin_content(connection, framing, length);
        result = read_content(in);
        if (result == 0) {
            connection->closes = 0; /* not before it is answered */
            return 0;
        }
    }
    if (result != 1) {
        refuse_and_close(connection, result);
        return 1;
    }
    connection->is_unread = 0;
    request->content = in->bytes + head_end;
    request->content_length = in->content_end - head_end;
    server->app.handle(server->app.context, request);
    end_request(in, in->raw);
    return 1;
}

/* ---- what becomes of a connection ---- */

static enum progress write_answer(struct http_connection *connection)
{
    return connection->pulls ? write_source(connection) : write_output(connection);
}

/* Whether there is another request to look at, and nothing in its way. */
static int may_take(const struct http_connection *connection)
{
    if (connection->in == NULL || connection->in->start == connection->in->end || connection->closes) return 0;
    return connection->state != HELD && connection->state != STREAMING;
}

/* Whether so much is answered that it should leave. */
static int is_laden(const struct http_connection *connection)
{
    return connection->body.length > 0 || connection->pulls || pending(connection) > ANSWER_BYTES;
}

/* Takes and answers requests that are whole, as many as a turn has; what is then left of them waits for the next turn,
 * as if the peer had no room: others are answered in between. */
static enum progress answer_requests(struct http_connection *connection)
{
    enum progress progress = write_answer(connection);
    int left = ANSWER_SLICE;

    while (left > 0 && progress == SENT && may_take(connection) && take_request(connection)) {
        left = is_laden(connection) ? 0 : left - 1;
    }
    if (progress == SENT && connection->state != STREAMING) progress = write_answer(connection);
    return left == 0 && progress == SENT && may_take(connection) ? BLOCKED : progress;
}

/* An answer that can't be finished, or a stream that is over. */
static void break_off(struct http_connection *connection)
{
    if (connection->pulls && connection->minor == 0) reset(connection); /* only so can HTTP/1.0 tell */
    else linger(connection);
}

/* The peer has no room for our bytes: it is polled for that, and closed if it takes nothing for STALL_MS. */
static void stall(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    int had_room = connection->state == STREAMING ? !is_linked(&connection->turn) : connection->state != ANSWERING;

    if (connection->state != STREAMING) connection->state = ANSWERING;
    if (had_room) connection->since_ms = server->now.mono_ms;
    if (connection->since_ms == server->now.mono_ms) link_last(&server->stalled, &connection->turn); /* or took some */
    poll_for(connection, 0, POLLOUT);
}

/* Whether the incomplete request of CONNECTION is CLIENT's. Whose a proxy's is nobody knows before its head is whole.
 * (Its client's entry may have been given to another since; then that one's oldest is what was this one's.) */
static int is_incomplete_of(const struct http_connection *connection, const struct peer *client)
{
    return connection->client == client && (!connection->is_proxy || connection->state == READING_CONTENT);
}

/* The oldest incomplete request (of CLIENT, if not NULL) is told that it took too long. */
static int drop_incomplete(struct http_server *server, const struct peer *client)
{
    struct link *link = server->incomplete.next;
    struct http_connection *connection;

    while (link != &server->incomplete && client != NULL && !is_incomplete_of(turn_of(link), client)) {
        link = link->next;
    }
    if (link == &server->incomplete) return 0;
    connection = turn_of(link);
    give_buffer(server, &connection->in); /* so there is one for the sentence */
    refuse_unparsed(connection, 408);
    if (write_output(connection) == SENT) linger(connection); else close_connection(connection);
    return 1;
}

/* A held request whose peer does not take the answers before it; or one that others were sent behind: they are
 * dropped, and the connection closes behind its answer. */
static int drop_held(struct http_server *server)
{
    struct link *link = server->held.next;

    while (link != &server->held && turn_of(link)->in == NULL && turn_of(link)->out == NULL) link = link->next;
    if (link == &server->held) return 0;
    if (turn_of(link)->out != NULL) {
        close_connection(turn_of(link));
    } else {
        give_buffer(server, &turn_of(link)->in);
        turn_of(link)->closes = 1;
    }
    return 1;
}

/* The oldest answer or stream that waits for its peer with a buffer. */
static int drop_stalled(struct http_server *server)
{
    struct link *link = server->stalled.next;

    while (link != &server->stalled && turn_of(link)->in == NULL && turn_of(link)->out == NULL) link = link->next;
    if (link == &server->stalled) return 0;
    close_connection(turn_of(link));
    return 1;
}

/* Sees to it that the next connection at work finds its buffers. A connection takes two at most, and when the work
 * on it is done it holds them in one of these three lists or not at all. Those who take no answers, or send requests
 * behind one that is held, lose theirs first, and so do those who send more than ANSWER_SLICE requests at once: an
 * address has no quota of these, and must not starve those who ask. */
static void free_some_buffers(struct http_server *server)
{
    while (server->free_buffer_count < BUFFERS_FREE) {
        int is_dropped = drop_held(server) || drop_stalled(server) || drop_incomplete(server, NULL);
        assert(is_dropped);
        (void)is_dropped;
    }
}

static int has_too_many(const struct http_server *server, const struct peer *client)
{
    const struct link *link;
    size_t count = 0;

    for (link = server->incomplete.next; link != &server->incomplete; link = link->next) {
        count += (size_t)is_incomplete_of(CONTAINER(link, const struct http_connection, turn), client);
    }
    return count > (server->buffer_count + 3) / 4;
}

/* An incomplete request keeps its buffer; an address that has too many of them loses its oldest. */
static void await_rest(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    enum connection_state state = connection->in->head_length > 0 ? READING_CONTENT : READING_HEAD;

    poll_for(connection, 0, POLLIN);
    if (connection->state == state) return;
    connection->state = (unsigned char)state;
    connection->since_ms = server->now.mono_ms;
    link_last(&server->incomplete, &connection->turn);
    if (connection->is_loopback || !is_incomplete_of(connection, connection->client)) return;
    if (has_too_many(server, connection->client)) (void)drop_incomplete(server, connection->client);
}

/* Sends what a stream's channel has. */
static void serve_stream(struct http_connection *connection)
{
    enum progress progress = write_source(connection);

    if (progress == BROKEN) {
        break_off(connection);
    } else if (progress == BLOCKED) {
        stall(connection);
    } else {
        unlink_from(&connection->turn);
        poll_for(connection, 1, POLLIN);
    }
}

/* Takes requests, sends answers, and puts the connection where its state then belongs. */
static void advance(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    enum progress progress = answer_requests(connection);

    if (connection->in != NULL && (connection->closes || connection->in->start == connection->in->end)) {
        give_buffer(server, &connection->in);
    }
    if (progress == BROKEN) {
        break_off(connection);
    } else if (connection->state == STREAMING) {
        serve_stream(connection);
    } else if (connection->state == HELD) { /* answers before it may wait for room */
        poll_for(connection, progress == SENT, progress == SENT ? POLLIN : POLLOUT);
    } else if (progress == BLOCKED) {
        stall(connection);
    } else if (connection->closes) {
        linger(connection);
    } else if (connection->in != NULL) {
        await_rest(connection);
    } else {
        connection->state = IDLE;
        connection->since_ms = server->now.mono_ms;
        link_last(&server->idle, &connection->turn);
        poll_for(connection, 0, POLLIN);
    }
}

/* Reads what is there into the buffer. */
static void read_input(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct buffer *in = connection->in != NULL ? connection->in : take_buffer(server);
    size_t shift = in->start;
    ssize_t count;

    connection->in = in;
    memmove(in->bytes, in->bytes + shift, in->end - shift);
    in->start = 0;
    in->end -= shift;
    in->scanned -= in->scanned < shift ? in->scanned : shift;
    in->raw -= in->raw < shift ? in->raw : shift;
    in->content_end -= in->content_end < shift ? in->content_end : shift;
    assert(in->end < BUFFER_SIZE);
    do count = net.recv(connection->fd, in->bytes + in->end, BUFFER_SIZE - in->end, 0);
    while (count < 0 && errno == EINTR);
    if (count > 0) in->end += (size_t)count;
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) {
        close_connection(connection); /* nothing whole is left unanswered */
    } else {
        advance(connection);
    }
}

/* A connection that is over: reads what still comes, until the peer has read our last answer and closes. */
static void read_rest(struct http_connection *connection)
{
    ssize_t count;

    do count = net.recv(connection->fd, connection->server->scratch, HTTP_SPAN_MAX, 0);
    while (count < 0 && errno == EINTR);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) close_connection(connection);
}

/* What poll() said of a connection in the busy part. */
static void handle_events(struct http_connection *connection)
{
    switch (connection->state) {
    case CLOSING: read_rest(connection); break;
    case STREAMING: serve_stream(connection); break;
    case ANSWERING:
    case HELD: advance(connection); break;
    default: read_input(connection);
    }
}

/* Looks whether the peer of a quiet connection has gone. What it sends to a stream is thrown away; what it sends
 * behind a held request stays with the kernel until that is answered. */
static void look_at_quiet(struct http_connection *connection)
{
    int flags = connection->state == HELD ? MSG_PEEK : 0;
    ssize_t count;

    do count = net.recv(connection->fd, connection->server->scratch, HTTP_SPAN_MAX, flags);
    while (count < 0 && errno == EINTR);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) close_connection(connection);
}

/* ---- channels ---- */

struct http_channel *http_channel(struct http_server *server, size_t number) { return &server->channels[number]; }

void http_wake(struct http_server *server, struct http_channel *channel)
{
    link_all(&channel->due, &channel->readers);
    if (is_linked(&channel->due) && !is_linked(&channel->woken)) link_last(&server->woken, &channel->woken);
}

static void resume(struct http_connection *connection, int is_expired)
{
    struct http_server *server = connection->server;

    unlink_from(&connection->turn);
    unlink_from(&connection->reader);
    uncount_client(connection);
    connection->state = IDLE;
    server->app.resume(server->app.context, connection, is_expired);
    advance(connection);
}

/* A stream without room is served when it has some; but it may be over. */
static void serve_blocked(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    struct http_span span = {NULL, 0, server->scratch};

    if (server->app.next(server->app.context, http_cursor(connection), &span) == HTTP_END) break_off(connection);
}

static void serve_reader(struct http_connection *connection)
{
    link_last(&connection->channel->readers, &connection->reader);
    if (connection->state == HELD) resume(connection, 0);
    else if (is_linked(&connection->turn)) serve_blocked(connection); /* in stalled */
    else serve_stream(connection);
}

/* Serves those who are due, a slice of them: the busy part is looked at in between. */
static void fan_out(struct http_server *server)
{
    size_t left = FAN_OUT_SLICE;

    while (left > 0 && is_linked(&server->woken)) {
        struct http_channel *channel = CONTAINER(server->woken.next, struct http_channel, woken);
        while (left > 0 && is_linked(&channel->due)) {
            serve_reader(CONTAINER(channel->due.next, struct http_connection, reader));
            free_some_buffers(server);
            left--;
        }
        if (is_linked(&channel->due)) link_last(&server->woken, &channel->woken); /* the other channels' turn */
        else unlink_from(&channel->woken);
    }
}

/* ---- accepting ---- */

static int has_input(const struct http_connection *connection)
{
    unsigned char byte;
    ssize_t count;

    do count = net.recv(connection->fd, &byte, 1, MSG_PEEK);
    while (count < 0 && errno == EINTR);
    return count > 0;
}

/* The connection longest idle, of a proxy if IS_PROXY. One whose request has come since poll() is not idle. */
static struct http_connection *longest_idle(struct http_server *server, int is_proxy)
{
    struct link *link;

    for (link = server->idle.next; link != &server->idle; link = link->next) {
        if (turn_of(link)->is_proxy == is_proxy && !has_input(turn_of(link))) return turn_of(link);
    }
    return NULL;
}

/* Ends the quiet connections whose peers have gone before the sweep comes to them. Returns whether there was one. */
static int look_at_all_quiet(struct http_server *server)
{
    struct part *quiet = &server->quiet;
    size_t i, before = server->open;

    if (server->now.mono_ms < server->look_ms) return 0;
    server->look_ms = server->now.mono_ms + LOOK_MS;
    if (net.poll(quiet->fds, (nfds_t)quiet->count, 0) <= 0) return 0;
    for (i = quiet->count; i-- > 0;) {
        if (i < quiet->count && quiet->fds[i].revents != 0) look_at_quiet(quiet->owners[i]);
    }
    return server->open < before;
}

/* The connection longest idle makes room for another, or those whose peers have gone; that of a proxy if there is no
 * other: the proxy may be sending a request on it just now, and would answer that with 502. */
static int make_room(struct http_server *server)
{
    struct http_connection *connection = longest_idle(server, 0);

    if (connection == NULL && look_at_all_quiet(server)) return 1;
    if (connection == NULL) connection = longest_idle(server, 1);
    if (connection == NULL) return 0;
    close_connection(connection);
    return 1;
}

static int is_proxy(const struct http_options *options, const unsigned char address[HTTP_ADDRESS_SIZE])
{
    size_t i;

    for (i = 0; i < options->proxy_count; i++) {
        if (memcmp(options->proxies[i], address, HTTP_ADDRESS_SIZE) == 0) return 1;
    }
    return 0;
}

/* A connection that is not open. Places never used come last: until then they are no more than a promise of memory. */
static struct http_connection *take_slot(struct http_server *server)
{
    struct http_connection *connection;

    if (!is_linked(&server->free) && server->slots_used < server->slots) {
        connection = (void *)(server->connections + server->slots_used++ * server->connection_size);
        connection->server = server;
        link_init(&connection->turn);
        link_init(&connection->reader);
        return connection;
    }
    if (!is_linked(&server->free)) close_connection(turn_of(server->closing.next)); /* there is one: see slots */
    connection = turn_of(server->free.next);
    unlink_from(&connection->turn);
    return connection;
}

/* Makes a connection of FD. Over a limit it gets 503, and its place is one of the spare ones. */
static void open_connection(struct http_server *server, int fd, const unsigned char address[HTTP_ADDRESS_SIZE])
{
    struct peer *peer = find_peer(server, address);
    struct http_connection *connection;
    int is_refused, one = 1, is_exempt = server->options.peer == 0 || is_loopback(address);

    is_exempt = is_exempt || is_proxy(&server->options, address);
    is_refused = !is_exempt && peer->connections >= server->options.peer;
    if (!is_refused && server->open == server->options.connections) is_refused = !make_room(server);
    connection = take_slot(server);
    memset(&connection->since_ms, 0, sizeof *connection - offsetof(struct http_connection, since_ms));
    connection->fd = fd;
    connection->peer = connection->client = peer;
    connection->is_proxy = (unsigned char)is_proxy(&server->options, address);
    connection->is_local = connection->is_loopback = (unsigned char)is_loopback(address); /* an entry may be shared */
    connection->state = IDLE;
    connection->since_ms = server->now.mono_ms;
    if (peer->connections++ == 0) unlink_from(&peer->quiet);
    server->open++;
    link_last(&server->idle, &connection->turn);
    add_to_part(connection, 0, POLLIN);
    (void)net.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* only slower without */
    if (!is_refused) return;
    refuse_unparsed(connection, 503);
    if (write_output(connection) == SENT) linger(connection); else close_connection(connection);
}

static int set_up(int fd)
{
    int flags = net.fcntl(fd, F_GETFL, 0);

    if (flags < 0 || net.fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return -1;
    return net.fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Listeners are not polled while the system has nothing for a new connection: that would be a busy loop. */
static void pause_accepting(struct http_server *server, int64_t until_ms)
{
    size_t i;

    server->accept_ms = until_ms;
    for (i = 0; i < server->listeners; i++) server->busy.fds[i].events = until_ms > 0 ? 0 : POLLIN;
}

static void accept_all(struct http_server *server, int listener)
{
    int left, has_made_room = 0;

    for (left = ACCEPT_SLICE; left > 0; left--) {
        struct sockaddr_storage from;
        socklen_t length = sizeof from;
        unsigned char address[HTTP_ADDRESS_SIZE];
        int fd = net.accept(listener, (struct sockaddr *)(void *)&from, &length);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO) continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK) return;
            if ((errno == EMFILE || errno == ENFILE) && !has_made_room && make_room(server)) {
                has_made_room = 1; /* if that is no help, another one's end is none either */
                continue;
            }
            pause_accepting(server, server->now.mono_ms + PAUSE_MS);
            return;
        }
        has_made_room = 0;
        if (set_up(fd) != 0) {
            (void)net.close(fd);
            continue;
        }
        address_bytes(&from, address);
        open_connection(server, fd, address);
    }
}

/* ---- time ---- */

static void expire_oldest(struct http_server *server, struct http_connection *connection)
{
    switch (connection->state) {
    case READING_HEAD:
    case READING_CONTENT: (void)drop_incomplete(server, NULL); break;
    case IDLE:
        if (!has_input(connection)) {
            close_connection(connection);
        } else { /* it rested; poll() is about to see it */
            connection->since_ms = server->now.mono_ms;
            link_last(&server->idle, &connection->turn);
        }
        break;
    default: close_connection(connection);
    }
}

/* Ends what is at the front of a list and longer there than LIMIT_MS. Returns when the next one's time is over. */
static int64_t expire(struct http_server *server, struct link *list, int64_t limit_ms)
{
    while (is_linked(list)) {
        int64_t due_ms = turn_of(list->next)->since_ms + limit_ms;
        if (due_ms > server->now.mono_ms) return due_ms;
        expire_oldest(server, turn_of(list->next));
    }
    return INT64_MAX;
}

/* Answers the held requests whose time is over, and finds the next deadline. */
static void expire_held(struct http_server *server)
{
    struct link over, *link, *next;

    if (server->now.mono_ms < server->held_ms) return;
    server->held_ms = INT64_MAX;
    link_init(&over);
    for (link = server->held.next; link != &server->held; link = next) {
        int64_t deadline_ms = turn_of(link)->since_ms;
        next = link->next;
        if (deadline_ms <= server->now.mono_ms) link_last(&over, link);
        else if (deadline_ms < server->held_ms) server->held_ms = deadline_ms;
    }
    while (is_linked(&over)) {
        resume(turn_of(over.next), 1);
        free_some_buffers(server);
    }
}

/* A comment after BEAT_MS of silence keeps proxies open, and finds out whether the peer is there. */
static void beat(struct http_connection *connection)
{
    if (connection->state != STREAMING || connection->server->now.mono_ms - connection->since_ms < BEAT_MS) return;
    put_out(connection, ":\n\n");
    serve_stream(connection);
}

/* Looks at a slice of the quiet connections, from the last to the first: one that leaves is replaced by the last. */
static void sweep_slice(struct http_server *server)
{
    struct part *quiet = &server->quiet;
    size_t count, i;

    if (server->sweep_at > quiet->count) server->sweep_at = quiet->count;
    count = server->sweep_left < server->sweep_at ? server->sweep_left : server->sweep_at;
    if (count > SWEEP_SLICE) count = SWEEP_SLICE;
    server->sweep_left = count == 0 ? 0 : server->sweep_left - count;
    server->sweep_at -= count;
    if (count == 0 || net.poll(quiet->fds + server->sweep_at, (nfds_t)count, 0) < 0) return; /* EINTR: next time */
    for (i = server->sweep_at + count; i-- > server->sweep_at;) {
        if (i >= quiet->count) continue;
        if (quiet->fds[i].revents != 0) look_at_quiet(quiet->owners[i]);
        else beat(quiet->owners[i]);
        free_some_buffers(server);
    }
}

static void sweep(struct http_server *server)
{
    if (server->quiet.count == 0) {
        server->sweep_ms = server->now.mono_ms + SWEEP_MS;
        server->sweep_parts = server->sweep_left = 0;
        return;
    }
    if (server->sweep_left == 0 && server->now.mono_ms >= server->sweep_ms) {
        server->sweep_ms = server->now.mono_ms + SWEEP_MS;
        if (server->sweep_parts == 0) {
            server->sweep_parts = SWEEP_PARTS;
            server->sweep_at = server->quiet.count;
        }
        server->sweep_left = (server->sweep_at + server->sweep_parts - 1) / server->sweep_parts;
        server->sweep_parts--;
    }
    if (server->sweep_left > 0) sweep_slice(server);
}

static int64_t earlier_of(int64_t a, int64_t b) { return a < b ? a : b; }

/* Does what time demands. Returns when it demands something again. */
static int64_t do_timers(struct http_server *server)
{
    int64_t due_ms = INT64_MAX;

    if (server->accept_ms > 0 && server->now.mono_ms >= server->accept_ms) pause_accepting(server, 0);
    expire_held(server);
    sweep(server);
    due_ms = earlier_of(due_ms, expire(server, &server->incomplete, REQUEST_MS));
    due_ms = earlier_of(due_ms, expire(server, &server->idle, IDLE_MS));
    due_ms = earlier_of(due_ms, expire(server, &server->stalled, STALL_MS));
    due_ms = earlier_of(due_ms, expire(server, &server->closing, LINGER_MS));
    due_ms = earlier_of(due_ms, server->held_ms);
    if (server->accept_ms > 0) due_ms = earlier_of(due_ms, server->accept_ms);
    if (server->quiet.count > 0) due_ms = earlier_of(due_ms, server->sweep_left > 0 ? 0 : server->sweep_ms);
    return is_linked(&server->woken) ? 0 : due_ms;
}

/* ---- the loop ---- */

struct http_time http_clock(void)
{
    struct http_time now;

    now.wall_ms = net.clock(CLOCK_REALTIME);
    now.mono_ms = net.clock(CLOCK_MONOTONIC);
    return now;
}

static int wait_for(int64_t ms)
{
    return ms < 0 ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Those that poll() has found something of come to the front of the busy part, of which it has seen COUNT. */
static void wake_found(struct http_server *server, size_t count)
{
    int64_t passed_ms = server->now.mono_ms - server->active_ms;
    size_t i;

    if (passed_ms >= ACTIVE_MS) {
        server->recent = passed_ms < 2 * ACTIVE_MS ? server->active : server->fixed;
        server->active = server->fixed;
        server->active_ms = server->now.mono_ms;
    }
    for (i = server->active; i < count; i++) {
        if (server->busy.fds[i].revents != 0) wake_entry(server, i);
    }
}

/* Handles what poll() found, from the last to the first: listeners come behind all connections. */
static void handle_busy(struct http_server *server)
{
    struct part *busy = &server->busy;
    size_t i;

    for (i = server->active; i-- > 0;) {
        if (i >= server->active || busy->fds[i].revents == 0) continue;
        if (i >= server->fixed) {
            busy->fds[i].revents = 0;
            handle_events(busy->owners[i]);
            free_some_buffers(server);
        } else if (i >= server->listeners) {
            server->watches[i - server->listeners].ready(server->watches[i - server->listeners].context);
        } else {
            accept_all(server, busy->fds[i].fd);
        }
    }
}

/* How many of the busy part are polled now: all if it is time for that, or if nothing goes on and poll() is to wait. Else
 * it waits until then at most. */
static size_t count_to_poll(const struct http_server *server, int64_t *wait_ms)
{
    int64_t rest_ms = (int64_t)((server->busy.count - server->recent) / RESTING_PER_MS);

    rest_ms = server->polled_ms + earlier_of(rest_ms, RESTING_MS) - server->now.mono_ms;
    if (rest_ms <= 0 || (server->found <= 0 && *wait_ms != 0)) return server->busy.count;
    if (*wait_ms < 0 || rest_ms < *wait_ms) *wait_ms = rest_ms;
    return server->recent;
}

int http_turn(struct http_server *server, int64_t wait_ms)
{
    int64_t due_ms = do_timers(server), own_ms = due_ms - server->now.mono_ms;
    size_t count;

    if (due_ms != INT64_MAX && (wait_ms < 0 || own_ms < wait_ms)) wait_ms = own_ms > 0 ? own_ms : 0;
    count = count_to_poll(server, &wait_ms);
    server->found = net.poll(server->busy.fds, (nfds_t)count, wait_for(wait_ms));
    if (server->found < 0 && errno != EINTR && errno != EAGAIN && errno != ENOMEM) return -1;
    if (server->found < 0 && errno != EINTR) (void)net.poll(NULL, 0, PAUSE_MS); /* the system is short of memory */
    server->now = http_clock();
    if (count == server->busy.count) server->polled_ms = server->now.mono_ms;
    if (server->found > 0) {
        wake_found(server, count);
        handle_busy(server);
    }
    fan_out(server);
    return 0;
}

struct http_time http_now(const struct http_server *server) { return server->now; }

uint16_t http_port(const struct http_server *server) { return server->port; }

void http_watch(struct http_server *server, int fd, void (*ready)(void *context), void *context)
{
    struct part *busy = &server->busy;
    size_t number = server->fixed - server->listeners;

    assert(number < HTTP_WATCHES_MAX && busy->count == server->fixed); /* before the first turn */
    server->watches[number].ready = ready;
    server->watches[number].context = context;
    busy->fds[busy->count].fd = fd;
    busy->fds[busy->count].events = POLLIN;
    busy->fds[busy->count++].revents = 0;
    server->active = server->recent = ++server->fixed;
}

void http_unwatch(struct http_server *server, int fd)
{
    size_t i;

    for (i = server->listeners; i < server->fixed; i++) {
        if (server->busy.fds[i].fd == fd) server->busy.fds[i].fd = -1; /* poll() passes over it */
    }
}

/* ---- open and close ---- */

static size_t power_of_two(size_t number)
{
    size_t power = 1;

    while (power < number) power *= 2;
    return power;
}

/* Adds COUNT things of SIZE to *SUM, a multiple of 16 always. Returns where they begin. */
static size_t reserve(size_t *sum, size_t count, size_t size)
{
    size_t start = *sum;

    if (start == SIZE_MAX || (size > 0 && count > (SIZE_MAX - 16 - start) / size)) {
        *sum = SIZE_MAX;
        return 0;
    }
    *sum = start + (count * size + 15) / 16 * 16;
    return start;
}

static size_t multiple_of_16(size_t size) { return (size + 15) / 16 * 16; }

static size_t buffers_for(size_t connections)
{
    size_t count = connections / BUFFERS_PER;

    return (count < BUFFERS_MIN ? BUFFERS_MIN : count > BUFFERS_MAX ? BUFFERS_MAX : count) + BUFFERS_FREE;
}

/* Places all arrays in one block at BASE (NULL: only counts). Returns its size. */
static size_t place_arrays(struct http_server *server, const struct http_options *options, unsigned char *base)
{
    size_t sum = 0, polled, at_connections, at_peers, at_buckets, at_channels, at_scratch, at_buffers;
    size_t at_busy, at_busy_owners, at_quiet, at_quiet_owners;

    server->slots = options->connections + REFUSED_MAX;
    server->buffer_count = buffers_for(options->connections);
    server->peer_count = 1 + (options->connections > PEERS_MIN ? options->connections : PEERS_MIN);
    server->bucket_count = power_of_two(server->peer_count);
    server->connection_size = multiple_of_16(sizeof(struct http_connection) + options->cursor_size);
    server->peer_size = multiple_of_16(sizeof(struct peer) + options->peer_size);
    polled = server->slots + HTTP_LISTENERS_MAX + HTTP_WATCHES_MAX;
    at_connections = reserve(&sum, server->slots, server->connection_size);
    at_busy = reserve(&sum, polled, sizeof(struct pollfd));
    at_busy_owners = reserve(&sum, polled, sizeof(struct http_connection *));
    at_quiet = reserve(&sum, polled, sizeof(struct pollfd));
    at_quiet_owners = reserve(&sum, polled, sizeof(struct http_connection *));
    at_peers = reserve(&sum, server->peer_count, server->peer_size);
    at_buckets = reserve(&sum, server->bucket_count, sizeof(uint32_t));
    at_channels = reserve(&sum, options->channels, sizeof(struct http_channel));
    at_scratch = reserve(&sum, 1, HTTP_SPAN_MAX);
    at_buffers = reserve(&sum, server->buffer_count, sizeof(struct buffer));
    if (base == NULL || sum == SIZE_MAX) return sum;
    server->connections = base + at_connections;
    server->busy.fds = (struct pollfd *)(void *)(base + at_busy);
    server->busy.owners = (struct http_connection **)(void *)(base + at_busy_owners);
    server->quiet.fds = (struct pollfd *)(void *)(base + at_quiet);
    server->quiet.owners = (struct http_connection **)(void *)(base + at_quiet_owners);
    server->peers = base + at_peers;
    server->peer_buckets = (uint32_t *)(void *)(base + at_buckets);
    server->channels = (struct http_channel *)(void *)(base + at_channels);
    server->scratch = base + at_scratch;
    server->buffers = (struct buffer *)(void *)(base + at_buffers);
    server->free_buffer_count = server->buffer_count;
    return sum;
}

size_t http_memory(const struct http_options *options)
{
    struct http_server server;
    size_t size;

    if (options->connections > UINT32_MAX / 2) return SIZE_MAX; /* their numbers have 32 bits */
    size = place_arrays(&server, options, NULL);
    return size > SIZE_MAX - sizeof server ? SIZE_MAX : size + sizeof server;
}

/* Listens on the socket FD, which is bound and may listen already. Returns 0, or -1 with errno. */
static int add_listener(struct http_server *server, int fd)
{
    struct pollfd *entry = &server->busy.fds[server->busy.count];

    if (listen(fd, BACKLOG) != 0 || set_up(fd) != 0) return -1;
    entry->fd = fd;
    entry->events = POLLIN;
    server->busy.count++;
    server->listeners++;
    server->active = server->recent = ++server->fixed;
    return 0;
}

/* Opens one listener. Returns 0, or -1 with errno. */
static int listen_on(struct http_server *server, const struct sockaddr *address, socklen_t length)
{
    int one = 1, error, fd = socket(address->sa_family, SOCK_STREAM, 0);

    if (fd < 0) return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* a restart need not wait for old connections */
    if (address->sa_family == AF_INET6) (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, address, length) == 0 && add_listener(server, fd) == 0) return 0;
    error = errno;
    (void)net.close(fd);
    errno = error;
    return -1;
}

/* The port that the system chose for the first listener, so that the second gets the same; of one that was passed. */
static uint16_t bound_port(const struct http_server *server)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;

    memset(&bound, 0, sizeof bound);
    if (getsockname(server->busy.fds[0].fd, (struct sockaddr *)(void *)&bound, &length) != 0) return server->port;
    if (bound.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)(void *)&bound)->sin6_port);
    if (bound.ss_family != AF_INET) return server->port; /* a Unix socket, passed, has none */
    return ntohs(((struct sockaddr_in *)(void *)&bound)->sin_port);
}

/* Listens on the sockets that were passed. Returns 0, -1 with errno. */
static int take_listeners(struct http_server *server)
{
    size_t i;

    for (i = 0; i < server->options.sockets; i++) {
        if (i == HTTP_LISTENERS_MAX) errno = E2BIG;
        if (i == HTTP_LISTENERS_MAX || add_listener(server, HTTP_PASSED_FD + (int)i) != 0) return -1;
    }
    server->port = bound_port(server);
    return 0;
}

/* Listens on what was passed, else on ADDRESS, or on every address: IPv6 if the system has it, and IPv4. Returns 0, -1
 * with errno. */
static int open_listeners(struct http_server *server)
{
    const char *address = server->options.address;
    struct sockaddr_in6 six;
    struct sockaddr_in four;
    int is_six = 1, is_four = 1;

    if (server->options.sockets > 0) return take_listeners(server);
    memset(&six, 0, sizeof six);
    memset(&four, 0, sizeof four);
    six.sin6_family = AF_INET6;
    four.sin_family = AF_INET;
    if (address != NULL) {
        is_six = inet_pton(AF_INET6, address, &six.sin6_addr) == 1;
        is_four = inet_pton(AF_INET, address, &four.sin_addr) == 1;
        if (!is_six && !is_four) {
            errno = EINVAL;
            return -1;
        }
    }
    six.sin6_port = htons(server->port);
    if (is_six && listen_on(server, (struct sockaddr *)(void *)&six, sizeof six) != 0) {
        if (!is_four || errno == EADDRINUSE || errno == EACCES) return -1; /* else there is no IPv6 */
    }
    if (server->listeners > 0) server->port = bound_port(server);
    four.sin_port = htons(server->port);
    if (is_four && listen_on(server, (struct sockaddr *)(void *)&four, sizeof four) != 0) {
        if (server->listeners == 0 || errno == EADDRINUSE || errno == EACCES) return -1; /* else there is no IPv4 */
    }
    server->port = bound_port(server);
    return 0;
}

static void explain_listen(const struct http_options *options, char reason[HTTP_REASON_SIZE])
{
    const char *address = options->address != NULL ? options->address : "every address";

    if (options->sockets > 0) {
        (void)snprintf(reason, HTTP_REASON_SIZE, "Can't listen on the sockets passed (%s).", strerror(errno));
    } else if (errno == EADDRINUSE) {
        (void)snprintf(reason, HTTP_REASON_SIZE, "Port %u is in use; stop what listens there or take another with -p.",
                       (unsigned)options->port);
    } else if (errno == EINVAL) {
        (void)snprintf(reason, HTTP_REASON_SIZE, "%s is not a numeric address.", address);
    } else {
        (void)snprintf(reason, HTTP_REASON_SIZE, "Can't listen on %s, port %u (%s).", address, (unsigned)options->port,
                       strerror(errno));
    }
}

static void init_lists(struct http_server *server)
{
    struct link *lists[8];
    size_t i;

    lists[0] = &server->idle;
    lists[1] = &server->incomplete;
    lists[2] = &server->stalled;
    lists[3] = &server->held;
    lists[4] = &server->closing;
    lists[5] = &server->free;
    lists[6] = &server->woken;
    lists[7] = &server->quiet_peers;
    for (i = 0; i < 8; i++) link_init(lists[i]);
    for (i = 0; i < server->options.channels; i++) {
        link_init(&server->channels[i].readers);
        link_init(&server->channels[i].due);
        link_init(&server->channels[i].woken);
    }
    link_init(&peer_at(server, 0)->quiet);
    server->peers_used = 1;
}

struct http_server *http_open(const struct http_options *options, const struct http_app *app,
                              char reason[HTTP_REASON_SIZE])
{
    struct http_server *server = calloc(1, sizeof *server);
    size_t size = http_memory(options);

    if (server != NULL && size != SIZE_MAX) server->block = calloc(1, size - sizeof *server);
    if (server == NULL || server->block == NULL) {
        (void)snprintf(reason, HTTP_REASON_SIZE, "There is not enough memory: %zu KiB are needed.", size / 1024);
        free(server);
        return NULL;
    }
    server->options = *options;
    server->app = *app;
    server->port = options->port;
    server->held_ms = INT64_MAX;
    server->date_s = -1;
    (void)place_arrays(server, options, server->block);
    init_lists(server);
    server->now = http_clock();
    server->sweep_ms = server->now.mono_ms + SWEEP_MS;
    if (open_listeners(server) == 0) return server;
    explain_listen(options, reason);
    http_close(server);
    return NULL;
}

void http_close(struct http_server *server)
{
    size_t i;

    for (i = 0; i < server->busy.count; i++) {
        if (i < server->listeners || i >= server->fixed) (void)net.close(server->busy.fds[i].fd);
    }
    for (i = 0; i < server->quiet.count; i++) (void)net.close(server->quiet.fds[i].fd);
    free(server->block);
    free(server);
}
