/* main.c: the command and the chat: options, who may ask, QR codes, the page, the routes, and what joins the store's
 * rooms to http's channels. The one file that knows both neighbours.
 *
 * A message comes in by send_message, store_send writes it and calls `room_changed`, which wakes the room's channel;
 * at the end of the turn http.c draws what each reader has not seen by `next_span`. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include "http.h"
#include "store.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>
#if defined __linux__ || defined __FreeBSD__ || defined __NetBSD__ || defined __OpenBSD__ || defined __APPLE__
#define HAS_GETIFADDRS /* not POSIX, but the only way to learn all addresses */
#include <ifaddrs.h>
#endif

#define VERSION "0.1" /* of 2026-11-25; the Makefile reads both */

/* ---- limits ---- */

#define HOSTS_MAX 16               /* -o host= */
#define PROXIES_MAX 16             /* -o proxy= */
#define HOST_SIZE 256              /* a host name, which DNS ends at 253 bytes, and a NUL */
#define WAIT_MAX_S 60              /* of `messages?wait=` */
#define SYNC_WAIT_MS 60000         /* an answer waits so long for an fsync, then its connection is closed */
#define NONCE_MAX 64               /* bytes of a nonce */
#define TOKEN_SIZE 16              /* random bytes */
#define TOKEN_DIGITS (2 * TOKEN_SIZE)
#define COOKIE_AGE_S (30 * 86400LL) /* or the hold, if that is longer */
#define OTHER_FILES 32             /* descriptors beside the connections: listeners, files, pipes, spare ones */
#define NO_STORE "Cache-Control: no-store\r\n"
#define ROOM_PATH_MAX (3 * STORE_NAME_MAX + 1)
#define COOKIE_FIELD_SIZE (2 * (ROOM_PATH_MAX + TOKEN_DIGITS + 128)) /* both cookies, and Cache-Control */
#define FIELDS_SIZE (COOKIE_FIELD_SIZE + ROOM_PATH_MAX + 64)         /* and a Location */
#define PAGE_FIELDS_SIZE 512
#define OWN_ADDRESS_SIZE (INET6_ADDRSTRLEN + sizeof "http://[]:65535")
#define ROOM_ADDRESS_SIZE (sizeof "https://" + HOST_SIZE + sizeof "/r/" + ROOM_PATH_MAX - 3) /* with one NUL */
#define PLAIN_POLICY_SIZE 256
#define PLAIN_FIELDS_SIZE (COOKIE_FIELD_SIZE + PLAIN_POLICY_SIZE)
#define PLAIN_MAX (HTTP_ANSWER_MAX - PLAIN_FIELDS_SIZE) /* bytes of a page without JavaScript */
#define PLAIN_END_MAX 960                               /* of them for what follows its messages */
#define PLAIN_NONCE_SIZE 8                              /* random bytes */
#define LOCATION_SIZE (HTTP_HEAD_MAX + ROOM_PATH_MAX + 64)

typedef char list_and_location_fit[STORE_LIST_MAX <= HTTP_ANSWER_MAX && LOCATION_SIZE <= HTTP_ANSWER_MAX ? 1 : -1];

/* The page, packed by `make` (it would be a third of the program): see unpack_page. Its first line defines INDEX_SIZE. */
static const unsigned char packed_page[] = {
#include "page.inc"
};

/* ---- the chat ---- */

struct settings {
    const char *address, *file;
    uint16_t port;
    size_t rooms, history, members, connections, peer;
    int asked_connections; /* else they may be fewer, where descriptors are */
    struct store_rate rate, joins;
    enum store_sync sync;
    int64_t hold_ms;
    unsigned char proxies[PROXIES_MAX][HTTP_ADDRESS_SIZE];
    size_t proxy_count;
    const char *hosts[HOSTS_MAX]; /* as host_name has them */
    size_t host_count;
};

/* What is kept with an address. */
struct address {
    struct store_bucket says, joins, draws;
};

/* An answer that waits until what it says lasts (store_lasts). */
struct promise {
    struct store_member *member; /* if he still is BY */
    uint64_t by, mark;
    union {
        struct {
            uint64_t id;
            int64_t t;
        } message;                /* SAID */
        char token[TOKEN_DIGITS]; /* JOINED */
    } of;
    uint32_t name_sum;            /* JOINED: of the name that lasts by then */
    unsigned char is_new;         /* JOINED: nobody has the token yet */
    unsigned char is_plain_form, is_lynx;
};

/* What is kept with a connection that streams, pulls or is held. */
struct reader {
    enum reader_kind { STREAM, ARRAY, WAITING, SAID, JOINED } kind;
    int64_t deadline_ms; /* of those held */
    union {
        struct store_cursor cursor;
        struct promise promise;
    } of;
};

struct chat;
struct route;

/* The request at work: found out by check_request, used by the route. */
struct call {
    const struct route *route;
    struct store_name room;        /* of a path with one */
    char room_path[ROOM_PATH_MAX]; /* the same, percent-encoded */
    struct store_member *member;   /* found by find_member */
    char token[TOKEN_DIGITS + 1];  /* his */
    int is_lynx;                   /* see cookie_field */
};

struct chat {
    struct settings settings;
    struct store *store;
    struct http_server *server; /* NULL while the store opens */
    int random_fd;
    int signal_fd;              /* read end of the signals' pipe */
    int sync_fd;                /* of the store, while it is watched */
    int stops;
    struct call call;
    char own_name[HOST_SIZE];
    char first_address[OWN_ADDRESS_SIZE]; /* that the banner names, with "http://" and port */
    char cookie_name[16];
    char etag[19];              /* with its quotes */
    char page_fields[PAGE_FIELDS_SIZE];
    char plain_policy[PLAIN_POLICY_SIZE];
    unsigned char query[HTTP_HEAD_MAX]; /* decoded in place */
    char answer[HTTP_ANSWER_MAX]; /* a long one in the making: too much for a small stack */
    unsigned char page[INDEX_SIZE];
};

static struct store_time now_of(const struct chat *chat)
{
    struct http_time clock = http_now(chat->server);
    struct store_time now;

    now.wall_ms = clock.wall_ms;
    now.mono_ms = clock.mono_ms;
    return now;
}

static struct store_bytes for_store(struct http_bytes bytes)
{
    struct store_bytes same;

    same.at = bytes.at;
    same.length = bytes.length;
    return same;
}

static struct http_bytes bytes_of(const char *text)
{
    struct http_bytes bytes;

    bytes.at = (const unsigned char *)text;
    bytes.length = strlen(text);
    return bytes;
}

/* HOST without its port, in lower case and without a dot at its end, to TEXT, which may be HOST itself. */
static void host_name(struct http_bytes host, char text[HOST_SIZE])
{
    unsigned char stop = host.length > 0 && host.at[0] == '[' ? ']' : ':';
    size_t i;

    for (i = 0; i < host.length && i < HOST_SIZE - 1 && host.at[i] != stop; i++) {
        text[i] = (char)(host.at[i] >= 'A' && host.at[i] <= 'Z' ? host.at[i] + 32 : host.at[i]);
    }
    if (i > 1 && text[i - 1] == '.') i--;
    text[i] = '\0';
}

/* ---- options ---- */

enum value { COUNT, COUNT_OR_OFF, SIZE, RATE, DURATION, SYNC, PROXY, HOST };

static const struct option {
    const char *name;
    enum value value;
    size_t offset;         /* in struct settings */
    uint64_t least, most;
    const char *fallback;  /* NULL: not set */
    const char *form, *help;
} options[] = {
    {"rooms", COUNT, offsetof(struct settings, rooms), 1, 1000000, "64", "N", "rooms at most"},
    {"history", SIZE, offsetof(struct settings, history), STORE_HISTORY_MIN, 1 << 30, "256k", "SIZE",
     "bytes of messages kept per room at least (8k to 1g)"},
    {"members", COUNT, offsetof(struct settings, members), 2, STORE_MEMBERS_MAX, "256", "N", "names held per room"},
    {"connections", COUNT, offsetof(struct settings, connections), 1, 1000000, "1024", "N", "connections at once"},
    {"peer", COUNT_OR_OFF, offsetof(struct settings, peer), 1, 1000000, "128", "N or off",
     "connections at once from one address"},
    {"rate", RATE, offsetof(struct settings, rate), 1, 1000000, "20/10", "N/S or off",
     "messages a member may send in S seconds"},
    {"joins", RATE, offsetof(struct settings, joins), 1, 1000000, "20/10", "N/S or off",
     "joins from one address in S seconds, and four times as many QR codes"},
    {"proxy", PROXY, 0, 0, 0, NULL, "ADDRESS",
     "a reverse proxy: its clients are told apart by X-Forwarded-For (repeatable)"},
    {"sync", SYNC, offsetof(struct settings, sync), 0, 0, "second", "second, always or exit",
     "when the data file is fsynced: a second after a message, before it is shown, or at the end alone"},
    {"hold", DURATION, offsetof(struct settings, hold_ms), 0, 3650ULL * 86400, "1d", "DURATION",
     "how long an absent holder keeps a name"},
    {"host", HOST, 0, 0, 0, NULL, "NAME", "a further Host to answer to (repeatable)"},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

static int complain(const char *what, const char *text, const char *why)
{
    (void)fprintf(stderr, "snug: %s %s %s; try snug -h.\n", what, text, why);
    return -1;
}

/* Splits a suffix of UNITS off TEXT, each FACTORS as much as the plain number. */
static int read_scaled(const char *text, const char *units, const uint64_t *factors, uint64_t most, uint64_t *number)
{
    struct http_bytes digits = bytes_of(text);
    const char *unit = digits.length > 0 ? strchr(units, text[digits.length - 1]) : NULL;
    uint64_t factor = 1;

    if (unit != NULL && *unit != '\0') {
        factor = factors[unit - units];
        digits.length--;
    }
    if (http_number(digits, most / factor, number) != 0) return -1;
    *number *= factor;
    return 0;
}

static int read_rate(const char *text, uint64_t most, struct store_rate *rate)
{
    const char *slash = strchr(text, '/');
    struct http_bytes digits = bytes_of(text);
    uint64_t tokens, period_s;

    rate->tokens = 0;
    rate->period_s = 1;
    if (strcmp(text, "off") == 0) return 0;
    if (slash == NULL) return -1;
    digits.length = (size_t)(slash - text);
    if (http_number(digits, most, &tokens) != 0 || tokens == 0) return -1;
    if (http_number(bytes_of(slash + 1), 86400, &period_s) != 0 || period_s == 0) return -1;
    rate->tokens = (int64_t)tokens;
    rate->period_s = (int64_t)period_s;
    return 0;
}

static int read_sync(const char *text, enum store_sync *sync)
{
    static const char *const names[] = {"second", "always", "exit"}; /* as enum store_sync has them */
    int i;

    for (i = 0; i < 3 && strcmp(text, names[i]) != 0; i++) continue;
    *sync = (enum store_sync)i;
    return i < 3 ? 0 : -1;
}

static int add_proxy(struct settings *settings, const char *text)
{
    if (settings->proxy_count == PROXIES_MAX) return -1;
    if (http_address(bytes_of(text), settings->proxies[settings->proxy_count]) != 0) return -1;
    settings->proxy_count++;
    return 0;
}

static int add_host(struct settings *settings, char *text)
{
    if (settings->host_count == HOSTS_MAX || *text == '\0' || strpbrk(text, " */:@%") != NULL) return -1;
    if (strlen(text) >= HOST_SIZE) return -1;
    host_name(bytes_of(text), text);
    settings->hosts[settings->host_count++] = text;
    return 0;
}

/* Reads TEXT as the value of the option ROW. */
static int set_value(struct settings *settings, const struct option *row, char *text)
{
    static const uint64_t sizes[] = {1024, 1024 * 1024, 1024 * 1024 * 1024}, seconds[] = {1, 60, 3600, 86400};
    void *place = (unsigned char *)settings + row->offset;
    uint64_t number = 0;
    int result = 0;

    if (row->value == COUNT_OR_OFF && strcmp(text, "off") == 0) {
        *(size_t *)place = 0;
        return 0;
    }
    switch (row->value) {
    case COUNT_OR_OFF:
    case COUNT: result = http_number(bytes_of(text), row->most, &number); break;
    case SIZE: result = read_scaled(text, "kmg", sizes, row->most, &number); break;
    case DURATION: result = read_scaled(text, "smhd", seconds, row->most, &number); break;
    case RATE: return read_rate(text, row->most, place);
    case SYNC: return read_sync(text, place);
    case PROXY: return add_proxy(settings, text);
    default: return add_host(settings, text);
    }
    if (result != 0 || number < row->least) return -1;
    if (row->value == DURATION) *(int64_t *)place = (int64_t)number * 1000;
    else *(size_t *)place = (size_t)number;
    return 0;
}

/* One NAME=VALUE of -o. */
static int read_option(struct settings *settings, char *text)
{
    char *value = strchr(text, '=');
    size_t i;

    if (value == NULL) return complain("-o", text, "is not NAME=VALUE");
    *value++ = '\0';
    for (i = 0; i < OPTION_COUNT && strcmp(options[i].name, text) != 0; i++) continue;
    if (i == OPTION_COUNT) return complain("-o", text, "is not known");
    if (strcmp(text, "connections") == 0) settings->asked_connections = 1;
    if (set_value(settings, &options[i], value) == 0) return 0;
    (void)fprintf(stderr, "snug: -o %s can't be '%s': it takes %s (%s)", text, value, options[i].form, options[i].help);
    if (options[i].value == COUNT || options[i].value == COUNT_OR_OFF) {
        (void)fprintf(stderr, ", from %lu to %lu", (unsigned long)options[i].least, (unsigned long)options[i].most);
    }
    (void)fprintf(stderr, "; try snug -h.\n");
    return -1;
}

static int read_option_list(struct settings *settings, char *list)
{
    while (list != NULL) {
        char *comma = strchr(list, ',');
        if (comma != NULL) *comma++ = '\0';
        if (read_option(settings, list) != 0) return -1;
        list = comma;
    }
    return 0;
}

static void set_fallbacks(struct settings *settings)
{
    size_t i;

    memset(settings, 0, sizeof *settings);
    settings->file = "snug.data";
    settings->port = 8080;
    for (i = 0; i < OPTION_COUNT; i++) {
        char text[16];
        if (options[i].fallback == NULL) continue;
        (void)snprintf(text, sizeof text, "%s", options[i].fallback);
        (void)set_value(settings, &options[i], text); /* the table's own values fit */
    }
}

static int print_help(void)
{
    size_t i;

    (void)printf("snug " VERSION ": rooms to talk in, for everyone on the same network\n\n"
                 "    snug [-a ADDRESS] [-p PORT] [-f FILE] [-o NAME=VALUE]...\n\n"
                 "  -a ADDRESS  listen on this numeric address (default: every one)\n"
                 "  -p PORT     listen on this port (8080)\n"
                 "  -f FILE     the data file (snug.data)\n"
                 "  -h, -V      print this help, print the version\n\n");
    for (i = 0; i < OPTION_COUNT; i++) {
        (void)printf("  -o %s=%s (%s)\n        %s\n", options[i].name, options[i].form,
                     options[i].fallback != NULL ? options[i].fallback : "none", options[i].help);
    }
    return ferror(stdout) || fflush(stdout) != 0 ? 1 : 0;
}

/* Reads the command line. Returns -1 to go on, else the exit status. */
static int read_command(struct settings *settings, int argc, char **argv)
{
    uint64_t port;
    int letter;

    opterr = 0;
    while ((letter = getopt(argc, argv, "a:p:f:o:hV")) != -1) {
        switch (letter) {
        case 'a': settings->address = optarg; break;
        case 'f': settings->file = optarg; break;
        case 'o':
            if (read_option_list(settings, optarg) != 0) return 2;
            break;
        case 'p':
            if (http_number(bytes_of(optarg), 65535, &port) != 0 || port == 0) {
                (void)complain("-p", optarg, "is not a port from 1 to 65535");
                return 2;
            }
            settings->port = (uint16_t)port;
            break;
        case 'h': return print_help();
        case 'V': (void)printf("snug " VERSION "\n"); return ferror(stdout) || fflush(stdout) != 0 ? 1 : 0;
        default: (void)fprintf(stderr, "snug: -%c is unknown or lacks its value; try snug -h.\n", optopt); return 2;
        }
    }
    if (optind == argc) return -1;
    (void)complain("the argument", argv[optind], "is not known");
    return 2;
}

/* ---- who may ask ---- */

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), size = strlen(end);

    return length > size && strcmp(text + length - size, end) == 0;
}

/* Against DNS rebinding: names that no stranger can point at this machine, and those given. */
static int is_accepted_host(const struct chat *chat, struct http_bytes host)
{
    static const char *const local[] = {".local",    ".lan",         ".home",     ".home.arpa",
                                        ".internal", ".localdomain", ".localhost"};
    char name[HOST_SIZE];
    struct in_addr four;
    size_t i;

    if (host.at == NULL || host.at[0] == '[') return 1;
    if (host.length >= sizeof name) return 0; /* no name; cut, it might look like one */
    host_name(host, name);
    if (strchr(name, '%') != NULL) return 0; /* what a dot may hide in */
    if (inet_pton(AF_INET, name, &four) == 1 || strchr(name, '.') == NULL) return 1;
    if (strcmp(name, chat->own_name) == 0) return 1;
    for (i = 0; i < sizeof local / sizeof local[0]; i++) {
        if (ends_with(name, local[i])) return 1;
    }
    for (i = 0; i < chat->settings.host_count; i++) {
        if (strcmp(name, chat->settings.hosts[i]) == 0) return 1;
    }
    return 0;
}

/* The port of an authority, FALLBACK if it names none. */
static uint64_t port_of(struct http_bytes authority, uint64_t fallback)
{
    size_t i = authority.length;
    struct http_bytes digits;
    uint64_t port;

    while (i > 0 && authority.at[i - 1] >= '0' && authority.at[i - 1] <= '9') i--;
    if (i == 0 || authority.at[i - 1] != ':') return fallback;
    digits.at = authority.at + i;
    digits.length = authority.length - i;
    return http_number(digits, UINT64_MAX, &port) == 0 ? port : fallback;
}

/* Whether ORIGIN (RFC 6454) names the host and port of AUTHORITY. A proxy may speak https for us. */
static int is_own_origin(struct http_bytes origin, struct http_bytes authority)
{
    char theirs[HOST_SIZE], ours[HOST_SIZE];
    uint64_t fallback = 80;
    size_t skip = 7;

    if (authority.at == NULL) return 0;
    if (http_begins_folded(origin, "https://")) {
        skip = 8;
        fallback = 443;
    } else if (!http_begins_folded(origin, "http://")) {
        return 0;
    }
    origin.at += skip;
    origin.length -= skip;
    if (port_of(origin, fallback) != port_of(authority, fallback)) return 0;
    host_name(origin, theirs);
    host_name(authority, ours);
    return strcmp(theirs, ours) == 0;
}

/* Whether a page of another site made the browser send this. */
static int is_cross_site(const struct http_request *request)
{
    struct http_bytes value;
    size_t position = 0;

    while ((value = http_field(request, "sec-fetch-site", &position)).at != NULL) {
        if (!http_equals(value, "same-origin") && !http_equals(value, "none")) return 1;
    }
    position = 0;
    while ((value = http_field(request, "origin", &position)).at != NULL) {
        if (!is_own_origin(value, request->authority)) return 1;
    }
    return 0;
}

/* Finds the member whose token one of the request's cookies has. */
static struct store_member *find_member(struct chat *chat, const struct http_request *request)
{
    struct store_room *room = store_find(chat->store, &chat->call.room);
    unsigned char key[STORE_KEY_SIZE];
    struct http_bytes value;
    struct http_place place = {0, {NULL, 0}};

    chat->call.member = NULL;
    while (room != NULL && (value = http_cookie(request, chat->cookie_name, &place)).at != NULL) {
        if (value.length != TOKEN_DIGITS) continue;
        http_sha256(value.at, value.length, key);
        chat->call.member = store_member(room, key);
        if (chat->call.member == NULL) continue;
        memcpy(chat->call.token, value.at, TOKEN_DIGITS);
        chat->call.token[TOKEN_DIGITS] = '\0';
        break;
    }
    return chat->call.member;
}

static int read_random(const struct chat *chat, unsigned char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = read(chat->random_fd, bytes, size);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return -1;
        bytes += count;
        size -= (size_t)count;
    }
    return 0;
}

/* Draws SIZE random bytes, TOKEN_SIZE at most, as hexadecimal DIGITS and a NUL. */
static int draw_digits(const struct chat *chat, size_t size, char *digits)
{
    unsigned char random[TOKEN_SIZE];
    size_t i;

    assert(size <= sizeof random);
    if (read_random(chat, random, size) != 0) return -1;
    for (i = 0; i < size; i++) {
        digits[2 * i] = "0123456789abcdef"[random[i] >> 4];
        digits[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
    }
    digits[2 * size] = '\0';
    return 0;
}

/* Draws a token for who joins, and its key. */
static int draw_token(struct chat *chat, unsigned char key[STORE_KEY_SIZE])
{
    if (draw_digits(chat, TOKEN_SIZE, chat->call.token) != 0) return -1;
    http_sha256(chat->call.token, TOKEN_DIGITS, key);
    return 0;
}

/* ---- QR codes (ISO/IEC 18004: byte mode, error correction level M) ---- */

#define QR_VERSION_MAX 17 /* holds 504 bytes, the longest address of a room has 458 */
#define QR_SIDE_MAX (4 * QR_VERSION_MAX + 17)
#define QR_CODEWORDS_MAX (QR_SIDE_MAX * QR_SIDE_MAX / 8)
#define QR_CHECK_MAX 30 /* of a block */
#define QR_MARGIN 4     /* light modules around it: the quiet zone */

typedef char qr_holds_address[ROOM_ADDRESS_SIZE - 1 <= 504 ? 1 : -1];

enum { DARK = 1, FIXED = 2 }; /* FIXED: of a pattern, holds no data and is not masked */

struct qr {
    int side, free;                                   /* in modules; those not FIXED */
    unsigned char modules[QR_SIDE_MAX * QR_SIDE_MAX]; /* x of line y at [y * side + x] */
};

/* What level M has in each version. */
static const struct {
    unsigned char check; /* error correction codewords of a block */
    unsigned char blocks;
} qr_versions[] = {{0, 0},  {10, 1}, {16, 1}, {26, 1}, {18, 2}, {24, 2}, {16, 4}, {18, 4},  {22, 4},
                   {22, 5}, {26, 5}, {30, 5}, {22, 8}, {22, 9}, {24, 9}, {24, 10}, {28, 10}, {28, 11}};

typedef char qr_versions_are_there[sizeof qr_versions / sizeof qr_versions[0] == QR_VERSION_MAX + 1 ? 1 : -1];

static void fix_module(struct qr *qr, int x, int y, unsigned dark)
{
    unsigned char *module = &qr->modules[y * qr->side + x];

    if (!(*module & FIXED)) qr->free--;
    *module = (unsigned char)(FIXED | dark);
}

/* Square rings around a point; bit i of DARK_RINGS is the one i modules off. */
static void draw_rings(struct qr *qr, int centre_x, int centre_y, int radius, unsigned dark_rings)
{
    int x, y;

    for (y = centre_y - radius; y <= centre_y + radius; y++) {
        for (x = centre_x - radius; x <= centre_x + radius; x++) {
            int across = abs(x - centre_x), down = abs(y - centre_y);
            if (x < 0 || y < 0 || x >= qr->side || y >= qr->side) continue;
            fix_module(qr, x, y, dark_rings >> (across > down ? across : down) & 1);
        }
    }
}

/* A grid from the timing patterns to the far ends, all gaps but the first of one even width (annex E), without the
 * three corners where finders are. */
static void draw_alignments(struct qr *qr, int version)
{
    int gaps = version / 7 + 1, step = (qr->side - 13 + 2 * gaps - 1) / (2 * gaps) * 2, i, j;

    for (i = 0; i <= gaps; i++) {
        for (j = 0; j <= gaps; j++) {
            int x = i == 0 ? 6 : qr->side - 7 - (gaps - i) * step, y = j == 0 ? 6 : qr->side - 7 - (gaps - j) * step;
            if ((i > 0 && j > 0) || (i + j > 0 && i + j < gaps)) draw_rings(qr, x, y, 2, 0x5);
        }
    }
}

/* VALUE and, behind it, COUNT bits of a BCH code (annexes C and D). */
static unsigned add_bch(unsigned value, int count, unsigned generator)
{
    unsigned rest = value;
    int i;

    for (i = 0; i < count; i++) rest = rest << 1 ^ (rest >> (count - 1) & 1) * generator;
    return value << count | rest;
}

/* Twice (7.9): around the finder at the top left, and beside the others. */
static void draw_format(struct qr *qr, unsigned mask)
{
    unsigned bits = add_bch(mask, 10, 0x537) ^ 0x5412; /* level M is 00 */
    int i;

    for (i = 0; i < 15; i++) {
        fix_module(qr, i < 8 ? 8 : i == 8 ? 7 : 14 - i, i < 6 ? i : i < 8 ? i + 1 : 8, bits >> i & 1);
        fix_module(qr, i < 8 ? qr->side - 1 - i : 8, i < 8 ? 8 : qr->side - 15 + i, bits >> i & 1);
    }
    fix_module(qr, 8, qr->side - 8, DARK);
}

/* Twice (7.10). */
static void draw_version(struct qr *qr, unsigned version)
{
    unsigned bits = add_bch(version, 12, 0x1F25);
    int i;

    for (i = 0; i < 18; i++) {
        fix_module(qr, qr->side - 11 + i % 3, i / 3, bits >> i & 1);
        fix_module(qr, i / 3, qr->side - 11 + i % 3, bits >> i & 1);
    }
}

/* All of VERSION but its data, and with the format of mask 0. */
static void draw_patterns(struct qr *qr, int version)
{
    int i;

    memset(qr->modules, 0, sizeof qr->modules);
    qr->side = 4 * version + 17;
    qr->free = qr->side * qr->side;
    for (i = 0; i < qr->side; i++) {
        fix_module(qr, i, 6, i % 2 == 0);
        fix_module(qr, 6, i, i % 2 == 0);
    }
    draw_rings(qr, 3, 3, 4, 0xB);
    draw_rings(qr, qr->side - 4, 3, 4, 0xB);
    draw_rings(qr, 3, qr->side - 4, 4, 0xB);
    if (version >= 2) draw_alignments(qr, version);
    if (version >= 7) draw_version(qr, (unsigned)version);
    draw_format(qr, 0);
}

static void append_bits(unsigned char *bytes, size_t *bit, size_t value, int count)
{
    for (; count-- > 0; ++*bit) bytes[*bit / 8] |= (unsigned char)((value >> count & 1) << (7 - *bit % 8));
}

/* TEXT as SIZE data codewords (7.4): mode, length, bytes, an end, padding. DATA is zeros at first. */
static void make_data(const char *text, int version, unsigned char *data, size_t size)
{
    size_t length = strlen(text), padding = 0xEC, bit = 0, i;

    append_bits(data, &bit, 4, 4);
    append_bits(data, &bit, length, version < 10 ? 8 : 16);
    for (i = 0; i < length; i++) append_bits(data, &bit, (unsigned char)text[i], 8);
    append_bits(data, &bit, 0, 4);
    for (; bit < 8 * size; padding ^= 0xEC ^ 0x11) append_bits(data, &bit, padding, 8);
}

/* In GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1. */
static unsigned char multiply(unsigned char a, unsigned char b)
{
    unsigned product = 0;
    int i;

    for (i = 7; i >= 0; i--) product = product << 1 ^ (product >> 7) * 0x11D ^ (b >> i & 1 ? a : 0U);
    return (unsigned char)product;
}

/* The COUNT error correction codewords of a block (7.5): Reed and Solomon's. */
static void make_check(const unsigned char *data, size_t length, unsigned char *check, size_t count)
{
    unsigned char generator[QR_CHECK_MAX] = {0}, root = 1;
    size_t i, j;

    assert(count > 0 && count <= QR_CHECK_MAX);
    generator[count - 1] = 1;
    for (i = 0; i < count; i++, root = multiply(root, 2)) {
        for (j = 0; j < count; j++) {
            generator[j] = multiply(generator[j], root) ^ (j + 1 < count ? generator[j + 1] : 0);
        }
    }
    memset(check, 0, count);
    for (i = 0; i < length; i++) {
        unsigned char factor = data[i] ^ check[0];
        for (j = 0; j < count; j++) check[j] = multiply(generator[j], factor) ^ (j + 1 < count ? check[j + 1] : 0);
    }
}

/* DATA in blocks, the last ones a codeword longer, each with its check, dealt out in turn (7.6). */
static void make_codewords(const unsigned char *data, size_t size, int version, unsigned char *codewords)
{
    size_t count = qr_versions[version].check, blocks = qr_versions[version].blocks, block, i;
    size_t least = size / blocks, short_blocks = blocks - size % blocks;
    unsigned char check[QR_CHECK_MAX];

    for (block = 0; block < blocks; block++) {
        size_t length = least + (block >= short_blocks);
        for (i = 0; i < length; i++) codewords[i * blocks + block - (i == least ? short_blocks : 0)] = data[i];
        make_check(data, length, check, count);
        for (i = 0; i < count; i++) codewords[size + i * blocks + block] = check[i];
        data += length;
    }
}

/* Table 10. */
static unsigned char is_masked(unsigned mask, int x, int y)
{
    switch (mask) {
    case 0: return (x + y) % 2 == 0;
    case 1: return y % 2 == 0;
    case 2: return x % 3 == 0;
    case 3: return (x + y) % 3 == 0;
    case 4: return (y / 2 + x / 3) % 2 == 0;
    case 5: return x * y % 2 + x * y % 3 == 0;
    case 6: return (x * y % 2 + x * y % 3) % 2 == 0;
    default: return ((x + y) % 2 + x * y % 3) % 2 == 0;
    }
}

/* In columns of two from the right, up and down in turn, past the timing pattern (7.7.3), under MASK. A few modules may
 * be left: they get the zeros that follow. */
static void place_codewords(struct qr *qr, const unsigned char *codewords, unsigned mask)
{
    int bit = 0, is_up = 1, right, i;

    for (right = qr->side - 1; right > 0; right -= right == 8 ? 3 : 2, is_up = !is_up) {
        for (i = 0; i < 2 * qr->side; i++) {
            int x = right - i % 2, y = is_up ? qr->side - 1 - i / 2 : i / 2;
            unsigned char *module = &qr->modules[y * qr->side + x];
            if (*module & FIXED) continue;
            *module = (codewords[bit / 8] >> (7 - bit % 8) & DARK) ^ is_masked(mask, x, y);
            bit++;
        }
    }
    draw_format(qr, mask);
}

/* What a line costs whose modules are STRIDE apart (7.8.3): five and more alike, and what looks like a finder with four
 * light ones beside, which may be the margin's. */
static int judge_line(const unsigned char *module, int stride, int side)
{
    int cost = 0, alike = 0, i;
    unsigned last = 0; /* the latest twelve, as bits */

    for (i = 0; i < side + QR_MARGIN; i++) {
        unsigned dark = i < side ? module[i * stride] & DARK : 0;
        alike = dark == (last & 1) ? alike + 1 : 1;
        last = (last << 1 | dark) & 0xFFF;
        if (alike >= 5 && i < side) cost += alike == 5 ? 3 : 1;
        if (last == 0x0BA || last == 0x5D0) cost += 40; /* 0000 1011101 0, 0 1011101 0000 */
    }
    return cost;
}

/* What all costs: lines both ways, squares of two by two alike, each 5 % that dark ones are more or less than half. */
static int judge(const struct qr *qr)
{
    const unsigned char *module = qr->modules;
    int cost = 0, dark = 0, side = qr->side, all = side * side, unlike, x, y;

    for (y = 0; y < side; y++) {
        cost += judge_line(qr->modules + y * side, 1, side) + judge_line(qr->modules + y, side, side);
        for (x = 0; x < side; x++, module++) {
            dark += *module & DARK;
            if (x == 0 || y == 0) continue;
            unlike = (module[0] ^ module[-1]) | (module[0] ^ module[-side]) | (module[0] ^ module[-side - 1]);
            cost += unlike & DARK ? 0 : 3;
        }
    }
    return cost + abs(20 * dark - 10 * all) / all * 10;
}

/* Under the mask that costs least. */
static void place_best(struct qr *qr, const unsigned char *codewords)
{
    unsigned mask, best = 0;
    int cost, least = INT_MAX;

    for (mask = 0; mask < 8; mask++) {
        place_codewords(qr, codewords, mask);
        cost = judge(qr);
        if (cost >= least) continue;
        least = cost;
        best = mask;
    }
    place_codewords(qr, codewords, best);
}

/* Draws TEXT in the least version that holds it. Returns -1 if none does. */
static int make_qr(struct qr *qr, const char *text)
{
    unsigned char data[QR_CODEWORDS_MAX] = {0}, codewords[QR_CODEWORDS_MAX] = {0};
    int version;

    for (version = 1; version <= QR_VERSION_MAX; version++) {
        size_t size;
        draw_patterns(qr, version);
        size = (size_t)(qr->free / 8 - qr_versions[version].check * qr_versions[version].blocks);
        if (strlen(text) + (version < 10 ? 2 : 3) > size) continue; /* with mode, length and end */
        make_data(text, version, data, size);
        make_codewords(data, size, version, codewords);
        place_best(qr, codewords);
        return 0;
    }
    return -1;
}

/* ---- QR codes as pictures ---- */

#define SVG_SIZE (HTTP_ANSWER_MAX - 64) /* the rest: its fields */

static int is_dark(const struct qr *qr, int x, int y)
{
    return x >= 0 && y >= 0 && x < qr->side && y < qr->side && qr->modules[y * qr->side + x] & DARK;
}

/* As SVG, called ADDRESS, to TEXT of SIZE bytes: one path whose strokes are as long as modules are dark. Returns its
 * length, 0 if it has no room. Neither a Host that http.c lets pass nor an encoded room needs escapes in XML. */
static size_t draw_svg(const struct qr *qr, const char *address, char *text, size_t size)
{
    int whole = qr->side + 2 * QR_MARGIN, x, y, pen;
    size_t length = (size_t)snprintf(
        text, size,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-%d -%d.5 %d %d\" shape-rendering=\"crispEdges\">"
        "<title>%s</title><path fill=\"#fff\" d=\"M-%d-%d.5h%dv%dh-%dz\"/><path stroke=\"#000\" d=\"",
        QR_MARGIN, QR_MARGIN, whole, whole, address, QR_MARGIN, QR_MARGIN, whole, whole, whole);

    for (y = 0; y < qr->side; y++) {
        for (pen = -1, x = 0; x < qr->side; x++) {
            int start = x;
            while (is_dark(qr, x, y)) x++;
            if (x == start) continue;
            if (length + sizeof "M99 99h99\"/></svg>\n" > size) return 0;
            length += (size_t)(pen < 0 ? sprintf(text + length, "M%d %dh%d", start, y, x - start)
                                       : sprintf(text + length, "m%d 0h%d", start - pen, x - start));
            pen = x;
        }
    }
    return length + (size_t)sprintf(text + length, "\"/></svg>\n");
}

/* For a terminal, two lines of modules in a line of half blocks, black on white whatever its colours are: those who do
 * not know a bright white (107) take the other. */
static void print_qr(const struct qr *qr)
{
    static const char *const blocks[] = {" ", "\342\226\200", "\342\226\204", "\342\226\210"}; /* U+2580, 2584, 2588 */
    int x, y;

    for (y = -QR_MARGIN; y < qr->side + QR_MARGIN; y += 2) {
        (void)fputs("\033[30;47;107m", stderr);
        for (x = -QR_MARGIN; x < qr->side + QR_MARGIN; x++) {
            (void)fputs(blocks[is_dark(qr, x, y) + 2 * is_dark(qr, x, y + 1)], stderr);
        }
        (void)fputs("\033[0m\n", stderr);
    }
}

/* ---- answers ---- */

static void reply_json(struct http_connection *connection, const char *fields, const char *json, size_t length)
{
    struct http_answer answer = {200, "application/json", NULL, NULL, 0, 0};

    answer.fields = fields;
    answer.body = json;
    answer.length = length;
    http_reply(connection, &answer);
}

static void reply_bare(struct http_connection *connection, int status, const char *fields)
{
    struct http_answer answer = {0, NULL, NULL, NULL, 0, 0};

    answer.status = status;
    answer.fields = fields;
    http_reply(connection, &answer);
}

/* The member's cookie: TOKEN for AGE seconds, as a field. Lynx (from 2.8.9 on) takes a query for a part of the path and
 * would not send it to `/r/ROOM?plain`: it gets another for that alone. */
static void cookie_field(const struct chat *chat, const char *token, int64_t age_s, char fields[FIELDS_SIZE])
{
    size_t length = (size_t)sprintf(fields, NO_STORE);
    int i;

    for (i = 0; i <= chat->call.is_lynx; i++) {
        length += (size_t)snprintf(fields + length, COOKIE_FIELD_SIZE - length,
                                   "Set-Cookie: %s=%s; Path=/r/%s%s; Max-Age=%lld; HttpOnly; SameSite=Lax\r\n",
                                   chat->cookie_name, token, chat->call.room_path, i > 0 ? "?plain" : "",
                                   (long long)age_s);
    }
}

static void add_cookie(const struct chat *chat, char fields[FIELDS_SIZE])
{
    int64_t age_s = chat->settings.hold_ms / 1000;

    cookie_field(chat, chat->call.token, age_s > COOKIE_AGE_S ? age_s : COOKIE_AGE_S, fields);
}

/* A plain form, sent by a browser without our script. */
static int is_plain_form(const struct http_request *request)
{
    return http_has_element(http_field(request, "accept", NULL), "text/html");
}

/* 303 to the room as a page without JavaScript, or to the landing page. */
static void reply_see_room(struct chat *chat, struct http_connection *connection, char fields[FIELDS_SIZE], int is_room)
{
    size_t length = strlen(fields);

    (void)snprintf(fields + length, FIELDS_SIZE - length, "Location: %s%s%s\r\n", is_room ? "/r/" : "/",
                   is_room ? chat->call.room_path : "", is_room ? "?plain" : "");
    reply_bare(connection, 303, fields);
}

static void refuse_too_fast(struct http_connection *connection, const char *what, int64_t wait_ms)
{
    char field[48], sentence[96];
    long long wait_s = (long long)(wait_ms + 999) / 1000;

    if (wait_s < 1) wait_s = 1;
    (void)snprintf(field, sizeof field, "Retry-After: %lld\r\n", wait_s);
    (void)snprintf(sentence, sizeof sentence, "Too many %s at once; wait %lld second%s.", what, wait_s,
                   wait_s == 1 ? "" : "s");
    http_refuse(connection, 429, field, sentence);
}

/* What the store can't do, as a status and a sentence. */
static void refuse_result(struct http_connection *connection, enum store_result result)
{
    static const struct {
        enum store_result result;
        int status;
        const char *fields, *sentence;
    } rows[] = {
        {STORE_TAKEN, 409, NULL, "That name is taken in this room; take another."},
        {STORE_NO_ROOM, 503, "Retry-After: 600\r\n", "No more rooms can be opened now; use one that is open."},
        {STORE_NO_PLACE, 503, "Retry-After: 600\r\n", "This room has no place left; take another room or wait."},
        {STORE_BEHIND, 503, "Retry-After: 1\r\n", "The disk is slower than this talk; try again in a second."},
        {STORE_FULL, 507, NULL, "The server's disk is full or failing, so this was not taken; try again later."}};
    size_t i = 0;

    while (rows[i].result != result) {
        i++;
        assert(i < sizeof rows / sizeof rows[0]); /* the others are answered by their routes */
    }
    http_refuse(connection, rows[i].status, rows[i].fields, rows[i].sentence);
}

static void refuse_stranger(struct http_connection *connection)
{
    http_refuse(connection, 401, "WWW-Authenticate: Snug\r\n", "You are not in this room; join it first.");
}

/* Behind a proxy an address has only so many streams and held requests; elsewhere http.c counts its connections. */
static int is_refused_waiting(struct http_connection *connection)
{
    if (http_may_wait(connection)) return 0;
    http_refuse(connection, 503, NULL, "Your address has as many streams as it may have; close one of them.");
    return 1;
}

/* ---- answers that wait for an fsync ---- */

/* Behind the rooms' channels: who waits for an fsync. */
static struct http_channel *sync_channel(struct chat *chat)
{
    return http_channel(chat->server, chat->settings.rooms);
}

/* The room, the member and the token of a promise become those of the call, as they were when it was given. */
static void recall(struct chat *chat, const struct reader *reader)
{
    const struct promise *promise = &reader->of.promise;
    struct store_bytes name = store_room_called(store_room(promise->member));
    struct http_bytes path;

    memcpy(chat->call.room.bytes, name.at, name.length);
    chat->call.room.length = name.length;
    path.at = name.at;
    path.length = name.length;
    (void)http_percent_encode(path, chat->call.room_path);
    if (reader->kind == JOINED) memcpy(chat->call.token, promise->of.token, TOKEN_DIGITS);
    chat->call.token[TOKEN_DIGITS] = '\0';
    chat->call.member = promise->member;
    chat->call.is_lynx = promise->is_lynx;
}

static void answer_joined(struct chat *chat, struct http_connection *connection, const struct promise *promise)
{
    char fields[FIELDS_SIZE], json[2 * STORE_QUOTED_MAX + 80];
    struct store_bytes room;
    size_t length;

    add_cookie(chat, fields);
    if (promise->is_plain_form) {
        reply_see_room(chat, connection, fields, 1);
        return;
    }
    room.at = chat->call.room.bytes;
    room.length = chat->call.room.length;
    length = (size_t)sprintf(json, "{\"room\":");
    length += store_quote(room, json + length);
    length += (size_t)sprintf(json + length, ",\"name\":");
    length += store_quote(store_called(promise->member), json + length);
    length += (size_t)sprintf(json + length, ",\"by\":%llu}", (unsigned long long)promise->by);
    reply_json(connection, fields, json, length);
}

static void answer_said(struct chat *chat, struct http_connection *connection, const struct promise *promise)
{
    char fields[FIELDS_SIZE], json[80] = "{\"id\":";
    size_t length = strlen(json);

    if (promise->is_plain_form) { /* who has left meanwhile is led where leaving leads */
        (void)strcpy(fields, NO_STORE);
        reply_see_room(chat, connection, fields, store_by(promise->member) == promise->by);
        return;
    }
    length += http_digits(promise->of.message.id, json + length);
    (void)strcpy(json + length, ",\"t\":");
    length += strlen(json + length);
    length += http_digits((uint64_t)promise->of.message.t, json + length);
    json[length++] = '}';
    reply_json(connection, NO_STORE, json, length);
}

/* Answers if what is promised lasts; else when it does. */
static void keep_promise(struct chat *chat, struct http_connection *connection)
{
    struct reader *reader = http_cursor(connection);
    const struct promise *promise = &reader->of.promise;

    if (!store_lasts(chat->store, promise->mark)) http_hold(connection, sync_channel(chat), reader->deadline_ms);
    else if (reader->kind == JOINED) answer_joined(chat, connection, promise);
    else answer_said(chat, connection, promise);
}

/* A part of NAME's SHA-256: to be compared with its like alone. */
static uint32_t sum_of(struct store_bytes name)
{
    unsigned char digest[HTTP_DIGEST_SIZE];
    uint32_t sum;

    http_sha256(name.at, name.length, digest);
    memcpy(&sum, digest, sizeof sum);
    return sum;
}

/* He may have taken yet another name while the answer waited: then that one must last too, for he is told that. */
static void follow_name(struct chat *chat, struct promise *promise)
{
    uint32_t sum = sum_of(store_called(promise->member));

    if (sum == promise->name_sum) return;
    promise->name_sum = sum;
    promise->mark = store_mark(chat->store);
}

/* A newcomer who is not answered leaves: nobody has his token, and the name shall be free for the next try. */
static void break_promise(struct chat *chat, const struct reader *reader)
{
    const struct promise *promise = &reader->of.promise;

    if (reader->kind != JOINED || !promise->is_new || store_by(promise->member) != promise->by) return;
    store_leave(promise->member, now_of(chat));
}

/* More lasts, or the time is over: then nobody can say whether it does. Who asks again says nothing twice. */
static void resume_promise(struct chat *chat, struct http_connection *connection, int expired)
{
    struct reader *reader = http_cursor(connection);
    struct promise *promise = &reader->of.promise;
    int is_member = store_by(promise->member) == promise->by;

    if (is_member) recall(chat, reader);
    if (is_member && reader->kind == JOINED) follow_name(chat, promise);
    if (expired && !store_lasts(chat->store, promise->mark)) {
        break_promise(chat, reader);
        http_drop(connection);
    } else if (!is_member && reader->kind == JOINED) {
        refuse_stranger(connection);
    } else {
        keep_promise(chat, connection);
    }
}

/* Promises the answer to REQUEST, which was carried out for the call's member. */
static struct promise *make_promise(struct chat *chat, const struct http_request *request, enum reader_kind kind)
{
    struct reader *reader = http_cursor(request->connection);
    struct promise *promise = &reader->of.promise;

    reader->kind = kind;
    reader->deadline_ms = now_of(chat).mono_ms + SYNC_WAIT_MS;
    promise->member = chat->call.member;
    promise->by = store_by(promise->member);
    promise->mark = store_mark(chat->store);
    promise->is_plain_form = (unsigned char)is_plain_form(request);
    promise->is_lynx = (unsigned char)chat->call.is_lynx;
    return promise;
}

/* ---- routes ---- */

/* The pairs of the request's form, or -1: refused. */
static int read_form(struct http_request *request, struct http_pair *pairs, size_t count)
{
    if (http_form(request->content, request->content_length, pairs, count) == 0) return 0;
    http_refuse(request->connection, 400, NULL, "A field is there twice or is not form-encoded; send each once.");
    return -1;
}

/* Likewise of its query. */
static int read_query(struct chat *chat, struct http_request *request, struct http_pair *pairs, size_t count)
{
    if (request->query.length > 0) memcpy(chat->query, request->query.at, request->query.length);
    if (http_form(chat->query, request->query.length, pairs, count) == 0) return 0;
    http_refuse(request->connection, 400, NULL, "A part of the query is there twice; give each once.");
    return -1;
}

static void send_page(struct chat *chat, struct http_request *request)
{
    struct http_answer answer = {200, "text/html; charset=utf-8", NULL, chat->page, INDEX_SIZE, 1};
    struct http_bytes match;
    size_t position = 0;

    answer.fields = chat->page_fields;
    while ((match = http_field(request, "if-none-match", &position)).at != NULL) { /* RFC 9110, 13.1.2 */
        char weak[24];
        (void)sprintf(weak, "w/%s", chat->etag);
        if (http_equals(match, "*") || http_has_element(match, chat->etag) || http_has_element(match, weak)) {
            reply_bare(request->connection, 304, chat->page_fields);
            return;
        }
    }
    http_reply(request->connection, &answer);
}

/* ---- routes: the room without JavaScript ---- */

static const char plain_style[] =
    "body{max-width:40em;margin:auto;padding:0 1em 1em;font:1em/1.5 sans-serif}"
    "h1,p{overflow-wrap:anywhere}p{white-space:pre-wrap}input{font:inherit;max-width:100%;box-sizing:border-box}";

/* A page in the making. */
struct html {
    size_t size, length;
    int is_full; /* something did not fit: nothing more is taken */
    char *text;  /* PLAIN_MAX bytes */
};

/* Markup of ours, as it is. */
static void add_html(struct html *html, const char *markup)
{
    size_t length = strlen(markup);

    html->is_full |= length > html->size - html->length;
    if (html->is_full) return;
    memcpy(html->text + html->length, markup, length);
    html->length += length;
}

/* What people wrote, for an element or an attribute's value in quotes: the one place where it becomes HTML. It is cut
 * between two characters where the page is full. */
static void add_text(struct html *html, const unsigned char *text, size_t text_length)
{
    size_t i, length;

    if (html->is_full) return;
    for (i = 0; i < text_length; i++) {
        const char *escape = text[i] == '&' ? "&amp;" : text[i] == '<' ? "&lt;" : text[i] == '>' ? "&gt;" : NULL;
        if (text[i] == '"') escape = "&quot;";
        if (text[i] == '\'') escape = "&#39;";
        if (text[i] == '\n') escape = "<br>"; /* in texts alone */
        length = escape != NULL ? strlen(escape) : 1;
        if (length > html->size - html->length) break;
        if (escape != NULL) memcpy(html->text + html->length, escape, length);
        else html->text[html->length] = (char)text[i];
        html->length += length;
    }
    html->is_full = i < text_length;
    for (; i < text_length && (text[i] & 0xC0) == 0x80; i--) html->length--;
}

static void begin_plain(struct html *html, struct chat *chat)
{
    const struct store_name *room = &chat->call.room;

    html->size = PLAIN_MAX;
    html->length = 0;
    html->is_full = 0;
    html->text = chat->answer;
    add_html(html, "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>");
    add_text(html, room->bytes, room->length);
    add_html(html, " \302\267 snug</title>\n<meta name=\"viewport\" content=\"width=device-width\">\n"
                   "<meta name=\"color-scheme\" content=\"light dark\">\n<style>");
    add_html(html, plain_style);
    add_html(html, "</style>\n<h1 dir=\"auto\">");
    add_text(html, room->bytes, room->length);
    add_html(html, "</h1>\n");
}

/* Begins a form that does ACTION in the room. */
static void add_form(struct html *html, const struct call *call, const char *action)
{
    add_html(html, "<form method=\"post\" action=\"/r/");
    add_html(html, call->room_path); /* needs no escape */
    add_html(html, "/");
    add_html(html, action);
    add_html(html, "\">\n");
}

static void add_writing_form(struct html *html, const struct chat *chat)
{
    struct store_bytes name = store_called(chat->call.member);
    char nonce[2 * PLAIN_NONCE_SIZE + 1];

    add_form(html, &chat->call, "send");
    if (draw_digits(chat, PLAIN_NONCE_SIZE, nonce) == 0) { /* else a repeated form says it again */
        add_html(html, "<input type=\"hidden\" name=\"nonce\" value=\"");
        add_html(html, nonce);
        add_html(html, "\">\n");
    }
    add_html(html, "<p><label for=\"text\">Message</label> (you are <bdi>");
    add_text(html, name.at, name.length);
    add_html(html, "</bdi>)<br><input id=\"text\" name=\"text\" size=\"60\" dir=\"auto\" autocomplete=\"off\" required "
                   "autofocus> <input type=\"submit\" value=\"Send\"></p>\n</form>\n<p><a href=\"/r/");
    add_html(html, chat->call.room_path);
    add_html(html, "?plain\">New messages</a></p>\n");
}

/* Returns whether its text was cut. */
static int add_message(struct html *html, const struct store_message *message)
{
    struct http_date date = http_date((int64_t)(message->t / 1000));
    char time_text[96];
    int is_cut;

    (void)snprintf(time_text, sizeof time_text,
                   "<time datetime=\"%04u-%02u-%02uT%02u:%02u:%02uZ\">%04u-%02u-%02u %02u:%02u</time>", date.year,
                   date.month, date.day, date.hour, date.minute, date.second, date.year, date.month, date.day,
                   date.hour, date.minute);
    add_html(html, "<p dir=\"auto\"><b><bdi>");
    add_text(html, message->name.at, message->name.length);
    add_html(html, "</bdi></b> ");
    add_html(html, time_text);
    add_html(html, "<br>");
    add_text(html, message->text.at, message->text.length);
    is_cut = html->is_full;
    add_html(html, "</p>\n");
    return is_cut;
}

/* The newest messages that fit. The newest of all is cut if it does not. */
static void add_messages(struct html *html, struct store_member *member)
{
    unsigned char scratch[STORE_FRAME_MAX];
    struct store_message message;
    struct store_cursor cursor;
    size_t start = html->length, end = start;
    int is_cut = 0;

    html->size -= PLAIN_END_MAX;
    store_look_back(&cursor, member);
    while (!html->is_full && store_previous(&cursor, scratch, &message)) {
        end = html->length;
        is_cut = add_message(html, &message);
    }
    html->size += PLAIN_END_MAX;
    if (html->length == start) {
        add_html(html, "<p>Nobody has said anything yet.</p>\n");
    } else if (html->is_full) {
        if (end > start) html->length = end;
        html->is_full = 0;
        if (end > start) add_html(html, "<p>Older messages have no place here.");
        else if (is_cut) add_html(html, " (The rest has no place here.)");
        add_html(html, "</p>\n");
    }
}

static void send_plain(struct chat *chat, struct http_request *request, const struct html *html, const char *fields)
{
    struct http_answer answer = {200, "text/html; charset=utf-8", NULL, NULL, 0, 0};
    char all_fields[PLAIN_FIELDS_SIZE];

    assert(!html->is_full);
    (void)snprintf(all_fields, sizeof all_fields, "%s%s", fields, chat->plain_policy);
    answer.fields = all_fields;
    answer.body = html->text;
    answer.length = html->length;
    http_reply(request->connection, &answer);
}

/* For a member: what was said, and the form to say something. The newest comes first, for a text browser shows the top
 * of a page, and a link to its end is not loaded anew where its beginning is on the screen. */
static void send_transcript(struct chat *chat, struct http_request *request)
{
    char fields[FIELDS_SIZE];
    struct html html;

    store_seen(chat->call.member, now_of(chat));
    begin_plain(&html, chat);
    add_writing_form(&html, chat);
    add_html(&html, "<h2>Messages</h2>\n<p>The newest is first. Times are UTC.</p>\n");
    add_messages(&html, chat->call.member);
    add_form(&html, &chat->call, "leave");
    /* Named: a form without any content lynx sends as GET. */
    add_html(&html, "<p><input type=\"submit\" name=\"leave\" value=\"Leave\"></p>\n</form>\n");
    add_html(&html, "<p><a href=\"/r/");
    add_html(&html, chat->call.room_path);
    add_html(&html, "/qr\">Invite: the address as a QR code</a></p>\n");
    add_cookie(chat, fields);
    send_plain(chat, request, &html, fields);
}

/* For others: the form to join, with the NAME that they came with if it can be one. */
static void send_entrance(struct chat *chat, struct http_request *request, struct http_bytes name)
{
    struct store_name kept;
    const char *reason;
    struct html html;

    if (store_member_name(for_store(name), &kept, &reason) != STORE_OK) kept.length = 0;
    begin_plain(&html, chat);
    add_form(&html, &chat->call, "join");
    add_html(&html, "<p><label for=\"name\">Your name</label><br><input id=\"name\" name=\"name\" size=\"30\" "
                    "dir=\"auto\" autocomplete=\"nickname\" required value=\"");
    add_text(&html, kept.bytes, kept.length);
    add_html(&html, "\"> <input type=\"submit\" value=\"Join\"></p>\n</form>\n");
    send_plain(chat, request, &html, NO_STORE);
}

static void send_room(struct chat *chat, struct http_request *request)
{
    struct http_pair pairs[2] = {{"plain", {NULL, 0}}, {"name", {NULL, 0}}};

    if (read_query(chat, request, pairs, 2) != 0) return;
    if (pairs[0].value.at == NULL) send_page(chat, request);
    else if (find_member(chat, request) != NULL) send_transcript(chat, request);
    else send_entrance(chat, request, pairs[1].value);
}

/* ---- routes: the rest ---- */

static void send_health(struct chat *chat, struct http_request *request)
{
    struct http_answer answer = {200, "text/plain; charset=utf-8", NO_STORE, "ok\n", 3, 1};

    (void)chat;
    http_reply(request->connection, &answer);
}

static void list_rooms(struct chat *chat, struct http_request *request)
{
    reply_json(request->connection, NO_STORE, chat->answer, store_list(chat->store, chat->answer));
}

/* The landing form without JavaScript: leads to the room's own form. */
static void lead_to_room(struct chat *chat, struct http_request *request)
{
    struct http_pair pairs[2] = {{"room", {NULL, 0}}, {"name", {NULL, 0}}};
    char fields[FIELDS_SIZE + 3 * STORE_NAME_MAX], name_path[ROOM_PATH_MAX];
    struct store_name room, name;
    struct http_bytes bytes;
    const char *reason;

    if (read_form(request, pairs, 2) != 0) return;
    if (store_room_name(for_store(pairs[0].value), &room, &reason) != STORE_OK ||
        store_member_name(for_store(pairs[1].value), &name, &reason) != STORE_OK) {
        http_refuse(request->connection, 400, NULL, reason);
        return;
    }
    bytes.at = room.bytes;
    bytes.length = room.length;
    (void)http_percent_encode(bytes, chat->call.room_path);
    bytes.at = name.bytes;
    bytes.length = name.length;
    (void)http_percent_encode(bytes, name_path);
    (void)snprintf(fields, sizeof fields, NO_STORE "Location: /r/%s?plain&name=%s\r\n",
                   chat->call.room_path, name_path);
    reply_bare(request->connection, 303, fields);
}

static struct address *address_of(struct http_connection *connection)
{
    return http_is_loopback(connection) ? NULL : http_peer(connection);
}

static void take_name(struct chat *chat, struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct http_pair pairs[1] = {{"name", {NULL, 0}}};
    struct address *address = address_of(connection);
    struct store_name name;
    unsigned char key[STORE_KEY_SIZE];
    enum store_result result;
    const char *reason;
    struct promise *answer;
    int64_t wait_ms;
    int is_new;

    if (read_form(request, pairs, 1) != 0) return;
    if (store_member_name(for_store(pairs[0].value), &name, &reason) != STORE_OK) {
        http_refuse(connection, 400, NULL, reason);
        return;
    }
    if (address != NULL && store_spend(&address->joins, chat->settings.joins, 1, now_of(chat), &wait_ms) != STORE_OK) {
        refuse_too_fast(connection, "joins", wait_ms);
        return;
    }
    is_new = find_member(chat, request) == NULL;
    if (!is_new) {
        result = store_rename(chat->call.member, &name, now_of(chat));
    } else if (draw_token(chat, key) == 0) {
        result = store_join(chat->store, &chat->call.room, &name, key, now_of(chat), &chat->call.member);
    } else {
        http_refuse(connection, 500, NULL, "The system gives no random numbers; tell who runs this server.");
        return;
    }
    if (result != STORE_OK) {
        refuse_result(connection, result);
        return;
    }
    answer = make_promise(chat, request, JOINED);
    memcpy(answer->of.token, chat->call.token, TOKEN_DIGITS);
    answer->name_sum = sum_of(store_called(answer->member));
    answer->is_new = (unsigned char)is_new;
    keep_promise(chat, connection);
}

/* A plain form's nonce counts together with its TEXT: who goes back has the form with its old nonce before him, and
 * what he writes there now is another message. */
static struct http_bytes nonce_of_form(struct http_bytes nonce, struct http_bytes text,
                                       unsigned char bytes[HTTP_DIGEST_SIZE + NONCE_MAX])
{
    struct http_bytes both;

    if (nonce.length == 0) return nonce;
    http_sha256(text.at, text.length, bytes);
    memcpy(bytes + HTTP_DIGEST_SIZE, nonce.at, nonce.length);
    both.at = bytes;
    both.length = HTTP_DIGEST_SIZE + nonce.length;
    return both;
}

/* A nonce is opaque to the store: 8 bytes of its SHA-256. */
static struct store_nonce nonce_of(struct http_bytes text)
{
    unsigned char digest[HTTP_DIGEST_SIZE];
    struct store_nonce nonce = {0, 0};
    size_t i;

    if (text.length == 0) return nonce;
    http_sha256(text.at, text.length, digest);
    nonce.given = 1;
    for (i = 0; i < 8; i++) nonce.digest = nonce.digest << 8 | digest[i];
    return nonce;
}

static void send_message(struct chat *chat, struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct http_pair pairs[2] = {{"text", {NULL, 0}}, {"nonce", {NULL, 0}}};
    unsigned char bytes[HTTP_DIGEST_SIZE + NONCE_MAX];
    struct address *address = address_of(connection);
    struct store_receipt receipt;
    struct promise *answer;
    enum store_result result;

    if (read_form(request, pairs, 2) != 0) return;
    if (pairs[1].value.length > NONCE_MAX) {
        http_refuse(connection, 400, NULL, "The nonce is longer than 64 bytes; take a shorter one.");
        return;
    }
    if (is_plain_form(request)) pairs[1].value = nonce_of_form(pairs[1].value, pairs[0].value, bytes);
    result = store_send(chat->call.member, for_store(pairs[0].value), nonce_of(pairs[1].value),
                        address != NULL ? &address->says : NULL, now_of(chat), &receipt);
    if (result == STORE_BAD) {
        http_refuse(connection, 400, NULL, receipt.reason);
    } else if (result == STORE_BUSY) {
        refuse_too_fast(connection, "messages", receipt.wait_ms);
    } else if (result != STORE_OK) {
        refuse_result(connection, result);
    } else {
        answer = make_promise(chat, request, SAID);
        answer->mark = receipt.mark;
        answer->of.message.id = receipt.id;
        answer->of.message.t = receipt.t;
        keep_promise(chat, connection);
    }
}

static void note_typing(struct chat *chat, struct http_request *request)
{
    char fields[FIELDS_SIZE] = NO_STORE;

    store_typing(chat->call.member, now_of(chat));
    if (is_plain_form(request)) reply_see_room(chat, request->connection, fields, 1);
    else reply_bare(request->connection, 204, fields);
}

static void leave_room(struct chat *chat, struct http_request *request)
{
    char fields[FIELDS_SIZE];

    store_leave(chat->call.member, now_of(chat));
    cookie_field(chat, "", 0, fields);
    if (is_plain_form(request)) reply_see_room(chat, request->connection, fields, 0);
    else reply_bare(request->connection, 204, fields);
}

/* What TEXT says of the last event seen. */
static struct store_after read_after(struct http_bytes text)
{
    struct store_after after = {STORE_AFTER_NONE, 0};

    if (text.length == 0) return after;
    after.kind = http_number(text, UINT64_MAX - 1, &after.id) == 0 ? STORE_AFTER_ID : STORE_AFTER_UNREADABLE;
    return after;
}

static struct http_channel *channel_of(struct chat *chat, const struct store_member *member)
{
    return http_channel(chat->server, store_number(store_room(member)));
}

static void stream_events(struct chat *chat, struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct http_pair pairs[1] = {{"after", {NULL, 0}}};
    struct http_bytes last = http_field(request, "last-event-id", NULL);
    struct reader *reader = http_cursor(connection);
    char fields[FIELDS_SIZE];
    size_t length;

    if (read_query(chat, request, pairs, 1) != 0 || is_refused_waiting(connection)) return;
    if (last.length == 0) last = pairs[0].value;
    add_cookie(chat, fields);
    length = strlen(fields);
    (void)snprintf(fields + length, FIELDS_SIZE - length, "X-Accel-Buffering: no\r\n");
    if (!http_is_head(connection)) {
        reader->kind = STREAM;
        store_follow(&reader->of.cursor, chat->call.member, read_after(last), now_of(chat));
    }
    http_stream(connection, channel_of(chat, chat->call.member), fields);
}

static void pull_array(struct http_connection *connection, struct reader *reader)
{
    reader->kind = ARRAY;
    http_pull(connection, NO_STORE);
}

/* WAIT in seconds; anything above the most counts as that, however long it is. */
static int read_wait(struct http_bytes text, uint64_t *wait_s)
{
    size_t i;

    *wait_s = 0;
    if (text.at == NULL) return 0;
    for (i = 0; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') return -1;
    }
    if (http_number(text, WAIT_MAX_S, wait_s) != 0) *wait_s = WAIT_MAX_S;
    return text.length > 0 ? 0 : -1;
}

static void send_messages(struct chat *chat, struct http_request *request)
{
    struct http_connection *connection = request->connection;
    struct http_pair pairs[2] = {{"after", {NULL, 0}}, {"wait", {NULL, 0}}};
    struct store_member *member = chat->call.member;
    struct reader *reader = http_cursor(connection);
    struct store_time now = now_of(chat);
    uint64_t wait_s;
    int has_news;

    if (read_query(chat, request, pairs, 2) != 0) return;
    if (read_wait(pairs[1].value, &wait_s) != 0) {
        http_refuse(connection, 400, NULL, "wait takes a number of seconds.");
        return;
    }
    store_seen(member, now);
    has_news = store_select(&reader->of.cursor, member, read_after(pairs[0].value));
    if (has_news || wait_s == 0 || http_is_head(connection)) {
        pull_array(connection, reader);
        return;
    }
    if (is_refused_waiting(connection)) return;
    reader->kind = WAITING;
    reader->deadline_ms = now.mono_ms + (int64_t)wait_s * 1000;
    store_wait(&reader->of.cursor, now);
    http_hold(connection, channel_of(chat, member), reader->deadline_ms);
}

/* Whether HOST leads everyone to his own machine (0.0.0.0 and :: do). */
static int is_loopback_host(struct http_bytes host)
{
    char name[HOST_SIZE];
    struct in_addr four;
    struct in6_addr six;

    host_name(host, name); /* of an IPv6 address, with its bracket */
    if (inet_pton(AF_INET, name, &four) == 1) return ntohl(four.s_addr) >> 24 == 127 || four.s_addr == 0;
    if (name[0] == '[' && inet_pton(AF_INET6, name + 1, &six) == 1) {
        if (IN6_IS_ADDR_V4MAPPED(&six)) return six.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&six) || IN6_IS_ADDR_UNSPECIFIED(&six);
    }
    return strcmp(name, "localhost") == 0 || ends_with(name, ".localhost");
}

/* The room's address as the asker has it, or as others on the network do where he has one for himself alone. Returns -1
 * if it is longer than any code holds. */
static int room_address(const struct chat *chat, const struct http_request *request, char address[ROOM_ADDRESS_SIZE])
{
    struct http_bytes host = request->authority;
    struct http_bytes scheme = http_field(request, "x-forwarded-proto", NULL); /* the first is the client's */

    if (host.length >= HOST_SIZE) return -1;
    if (host.length == 0 || is_loopback_host(host)) {
        (void)snprintf(address, ROOM_ADDRESS_SIZE, "%s/r/%s", chat->first_address, chat->call.room_path);
    } else {
        (void)snprintf(address, ROOM_ADDRESS_SIZE, "http%s://%.*s/r/%s",
                       http_begins_folded(scheme, "https") ? "s" : "", (int)host.length, (const char *)host.at,
                       chat->call.room_path);
    }
    return 0;
}

/* None may keep it, for it goes with Host and proxy. It holds the loop up longer than all else that a stranger may ask
 * (1 ms and more), so an address gets four for each time it may join: the page asks up to three times for one look. */
static void send_qr(struct chat *chat, struct http_request *request)
{
    struct http_answer answer = {200, "image/svg+xml", NO_STORE, NULL, 0, 0};
    struct address *asker = address_of(request->connection);
    struct store_rate rate = chat->settings.joins;
    char address[ROOM_ADDRESS_SIZE];
    int is_short = room_address(chat, request, address) == 0;
    int64_t wait_ms;
    struct qr qr;

    rate.tokens *= 4;
    if (is_short && asker != NULL && store_spend(&asker->draws, rate, 1, now_of(chat), &wait_ms) != STORE_OK) {
        refuse_too_fast(request->connection, "QR codes", wait_ms);
        return;
    }
    if (is_short && make_qr(&qr, address) == 0) answer.length = draw_svg(&qr, address, chat->answer, SVG_SIZE);
    if (answer.length == 0) {
        http_refuse(request->connection, 400, NULL, "This address is too long for a QR code; ask by a shorter Host.");
        return;
    }
    answer.body = chat->answer;
    http_reply(request->connection, &answer);
}

enum who { ANYONE, MEMBER };

#define READ (HTTP_GET | HTTP_HEAD)

static const struct route {
    const char *target; /* with a * for the room */
    unsigned methods;
    enum who who;
    void (*answer)(struct chat *chat, struct http_request *request);
} routes[] = {
    {"/", READ, ANYONE, send_page},
    {"/healthz", READ, ANYONE, send_health},
    {"/rooms", READ, ANYONE, list_rooms},
    {"/join", HTTP_POST, ANYONE, lead_to_room},
    {"/r/*", READ, ANYONE, send_room},
    {"/r/*/join", HTTP_POST, ANYONE, take_name},
    {"/r/*/send", HTTP_POST, MEMBER, send_message},
    {"/r/*/typing", HTTP_POST, MEMBER, note_typing},
    {"/r/*/leave", HTTP_POST, MEMBER, leave_room},
    {"/r/*/events", READ, MEMBER, stream_events},
    {"/r/*/messages", READ, MEMBER, send_messages},
    {"/r/*/qr", READ, ANYONE, send_qr},
};

#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

/* Whether PATH is TARGET; *ROOM is what stands for its star. */
static int matches(const char *target, struct http_bytes path, struct http_bytes *room)
{
    const char *star = strchr(target, '*');
    size_t before = star != NULL ? (size_t)(star - target) : 0, length;

    room->at = NULL;
    if (star == NULL) return http_equals(path, target);
    if (path.length < before || memcmp(path.at, target, before) != 0) return 0;
    room->at = path.at + before;
    for (length = 0; before + length < path.length && room->at[length] != '/'; length++) continue;
    room->length = length;
    path.at += before + length;
    path.length -= before + length;
    return length > 0 && http_equals(path, star + 1);
}

/* Reads the room of a path. Returns NULL, or the sentence that says why it is none. */
static const char *read_room(struct call *call, struct http_bytes path)
{
    unsigned char bytes[HTTP_HEAD_MAX];
    long length = http_percent_decode(path, bytes, sizeof bytes);
    struct store_bytes text;
    struct http_bytes name;
    const char *reason = NULL;

    assert(length >= 0); /* http.c has seen that escapes are whole, and a path is no longer than this */
    text.at = bytes;
    text.length = (size_t)length;
    if (store_room_name(text, &call->room, &reason) != STORE_OK) return reason;
    name.at = call->room.bytes;
    name.length = call->room.length;
    (void)http_percent_encode(name, call->room_path);
    return NULL;
}

/* 308 to the room's canonical spelling; what is behind it stays. */
static void redirect(struct chat *chat, struct http_request *request, struct http_bytes room)
{
    size_t before = (size_t)(room.at - request->path.at) + room.length;

    (void)snprintf(chat->answer, LOCATION_SIZE, "Location: /r/%s%.*s%s%.*s\r\n", chat->call.room_path,
                   (int)(request->path.length - before), (const char *)request->path.at + before,
                   request->query.at != NULL ? "?" : "", (int)request->query.length,
                   request->query.at != NULL ? (const char *)request->query.at : "");
    http_refuse(request->connection, 308, chat->answer, "This room's address is spelled as Location says; use that.");
}

static void refuse_method(struct http_connection *connection, unsigned allowed)
{
    char field[32];

    (void)snprintf(field, sizeof field, "Allow: %s%s%s\r\n", allowed & HTTP_GET ? "GET, HEAD" : "",
                   allowed == (READ | HTTP_POST) ? ", " : "", allowed & HTTP_POST ? "POST" : "");
    http_refuse(connection, 405, field, "This address does not take that method; use one that Allow names.");
}

/* Host, path, method, cross-site, in the contract's order. */
static int check_request(void *context, struct http_request *request)
{
    struct chat *chat = context;
    struct http_connection *connection = request->connection;
    struct http_bytes room = {NULL, 0};
    const struct route *route = routes;
    const char *flaw = "There is nothing at this address; begin at /.";

    if (!is_accepted_host(chat, request->authority)) {
        http_refuse(connection, 421, NULL, "This server does not answer to that name; -o host=NAME makes it.");
        return -1;
    }
    if (request->path.at[0] != '/') { /* OPTIONS * and CONNECT */
        refuse_method(connection, READ | HTTP_POST);
        return -1;
    }
    while (route < routes + ROUTE_COUNT && !matches(route->target, request->path, &room)) route++;
    if (route < routes + ROUTE_COUNT) flaw = room.at != NULL ? read_room(&chat->call, room) : NULL;
    if (flaw != NULL) {
        http_refuse(connection, 404, NULL, flaw);
        return -1;
    }
    if (room.at != NULL && !http_equals(room, chat->call.room_path)) {
        redirect(chat, request, room);
        return -1;
    }
    if (!(request->method & route->methods)) {
        refuse_method(connection, route->methods);
        return -1;
    }
    if (request->method == HTTP_POST && is_cross_site(request)) {
        http_refuse(connection, 403, NULL,
                    "This came from another site; open the page here. A proxy must pass on Host as it came.");
        return -1;
    }
    chat->call.route = route;
    chat->call.is_lynx = http_begins_folded(http_field(request, "user-agent", NULL), "lynx/");
    return 0;
}

static void answer_request(void *context, struct http_request *request)
{
    struct chat *chat = context;
    const struct route *route = chat->call.route;

    if (route->who == MEMBER && find_member(chat, request) == NULL) refuse_stranger(request->connection);
    else route->answer(chat, request);
}

/* ---- streams ---- */

static enum http_next next_span(void *context, void *cursor, struct http_span *span)
{
    struct reader *reader = cursor;
    struct store_bytes bytes = {NULL, 0};
    enum store_next next;

    (void)context;
    if (reader->kind == STREAM) next = store_next(&reader->of.cursor, span->scratch, &bytes);
    else next = store_next_array(&reader->of.cursor, span->scratch, HTTP_SPAN_MAX, &bytes);
    span->at = bytes.at;
    span->length = bytes.length;
    switch (next) {
    case STORE_NOTHING: return HTTP_NOTHING;
    case STORE_BYTES: return HTTP_BYTES;
    case STORE_NOTE: return HTTP_NOTE;
    default: return HTTP_END;
    }
}

static void took_span(void *context, void *cursor, size_t count)
{
    struct reader *reader = cursor;

    (void)context;
    if (reader->kind == STREAM) store_took(&reader->of.cursor, count);
    else store_took_array(&reader->of.cursor);
}

static void reader_gone(void *context, void *cursor)
{
    struct chat *chat = context;
    struct reader *reader = cursor;

    if (reader->kind == STREAM) store_unfollow(&reader->of.cursor, now_of(chat));
    if (reader->kind == WAITING) store_unwait(&reader->of.cursor, now_of(chat));
    break_promise(chat, reader);
}

/* Something happened in the room of a held `messages`, or its time is over. */
static void resume_wait(struct chat *chat, struct http_connection *connection, int expired)
{
    struct reader *reader = http_cursor(connection);

    if (!store_is_member(&reader->of.cursor)) {
        refuse_stranger(connection);
    } else if (store_reselect(&reader->of.cursor) || expired) {
        store_unwait(&reader->of.cursor, now_of(chat));
        store_seen(reader->of.cursor.member, now_of(chat));
        pull_array(connection, reader);
    } else {
        http_hold(connection, channel_of(chat, reader->of.cursor.member), reader->deadline_ms);
    }
}

static void resume_request(void *context, struct http_connection *connection, int expired)
{
    const struct reader *reader = http_cursor(connection);

    if (reader->kind == WAITING) resume_wait(context, connection, expired);
    else resume_promise(context, connection, expired);
}

/* An address whose buckets are full needs no entry. */
static int is_forgettable(void *context, const void *peer)
{
    const struct chat *chat = context;
    const struct address *address = peer;
    int64_t now_us = now_of(chat).mono_ms * 1000;

    return address->says.full_us <= now_us && address->joins.full_us <= now_us && address->draws.full_us <= now_us;
}

static void room_changed(void *context, size_t room)
{
    struct chat *chat = context;

    if (chat->server != NULL) http_wake(chat->server, http_channel(chat->server, room));
}

static void more_lasts(void *context)
{
    struct chat *chat = context;

    if (chat->server != NULL) http_wake(chat->server, sync_channel(chat));
}

/* The child that fsyncs has answered, or has died. */
static void read_synced(void *context)
{
    struct chat *chat = context;

    store_synced(chat->store, now_of(chat));
    if (store_sync_fd(chat->store) < 0) http_unwatch(chat->server, chat->sync_fd);
}

static void tell_operator(void *context, const char *sentence)
{
    (void)context;
    (void)fprintf(stderr, "snug: %s\n", sentence);
}

/* ---- the page ---- */

/* A packed byte under 128 stands for itself, but 1: the byte behind it does. Others begin a copy of what came before:
 * 10LLLLDD DDDDDDDD are L + 3 bytes from D + 1 back, 11LLLLLL and 16 bits of D likewise. */
static void unpack_page(unsigned char page[INDEX_SIZE])
{
    const unsigned char *packed = packed_page, *end = packed_page + sizeof packed_page;
    size_t at = 0, distance, length;

    while (packed < end) {
        unsigned code = *packed++;
        if (code < 128) {
            page[at++] = code == 1 ? *packed++ : (unsigned char)code;
            continue;
        }
        distance = code < 192 ? code & 3 : *packed++;
        distance = (distance << 8 | *packed++) + 1;
        length = (code < 192 ? code >> 2 & 15 : code & 63) + 3;
        for (; length > 0; length--, at++) page[at] = page[at - distance];
    }
    assert(at == INDEX_SIZE);
}

/* The SHA-256 of BYTES in base64. */
static void hash_bytes(const void *bytes, size_t length, char text[HTTP_BASE64_SIZE])
{
    unsigned char digest[HTTP_DIGEST_SIZE];

    http_sha256(bytes, length, digest);
    http_base64(digest, text);
}

/* Likewise of what is between OPEN and CLOSE in the page; "" if it has no such part. */
static void hash_part(const unsigned char page[INDEX_SIZE], const char *open, const char *close,
                      char text[HTTP_BASE64_SIZE])
{
    size_t start = 0, end, open_length = strlen(open), close_length = strlen(close);

    text[0] = '\0';
    while (start + open_length <= INDEX_SIZE && memcmp(page + start, open, open_length) != 0) start++;
    start += open_length;
    end = start;
    while (end + close_length <= INDEX_SIZE && memcmp(page + end, close, close_length) != 0) end++;
    if (end + close_length <= INDEX_SIZE) hash_bytes(page + start, end - start, text);
}

static void make_page_fields(struct chat *chat)
{
    char script[HTTP_BASE64_SIZE], style[HTTP_BASE64_SIZE];
    unsigned char digest[HTTP_DIGEST_SIZE];
    size_t i;

    hash_part(chat->page, "<script>", "</script>", script);
    hash_part(chat->page, "<style>", "</style>", style);
    http_sha256(chat->page, INDEX_SIZE, digest);
    chat->etag[0] = '"';
    for (i = 0; i < 8; i++) (void)sprintf(chat->etag + 1 + 2 * i, "%02x", digest[i]);
    (void)strcat(chat->etag, "\"");
    (void)snprintf(chat->page_fields, sizeof chat->page_fields,
                   "Cache-Control: no-cache\r\nETag: %s\r\n"
                   "Content-Security-Policy: default-src 'none'; script-src 'sha256-%s'; style-src 'sha256-%s'; "
                   "connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
                   "frame-ancestors 'none'\r\n",
                   chat->etag, script, style);
    hash_bytes(plain_style, sizeof plain_style - 1, style);
    (void)snprintf(chat->plain_policy, sizeof chat->plain_policy,
                   "Content-Security-Policy: default-src 'none'; style-src 'sha256-%s'; form-action 'self'; "
                   "base-uri 'none'; frame-ancestors 'none'\r\n",
                   style);
}

/* ---- start ---- */

static void print_address(struct chat *chat, const char *address)
{
    int is_six = strchr(address, ':') != NULL;
    char text[OWN_ADDRESS_SIZE], port[8] = "";

    if (http_port(chat->server) != 80) (void)sprintf(port, ":%u", (unsigned)http_port(chat->server));
    (void)snprintf(text, sizeof text, "http://%s%s%s%s", is_six ? "[" : "", address, is_six ? "]" : "", port);
    (void)fprintf(stderr, "  %s/\n", text);
    if (chat->first_address[0] == '\0') (void)strcpy(chat->first_address, text);
}

/* The first address for phones, which point their camera at it: none that would lead them to themselves. */
static void print_first_address(const struct chat *chat)
{
    char text[OWN_ADDRESS_SIZE + 1];
    struct qr qr;

    if (!isatty(STDERR_FILENO) || is_loopback_host(bytes_of(chat->first_address + strlen("http://")))) return;
    (void)snprintf(text, sizeof text, "%s/", chat->first_address);
    if (make_qr(&qr, text) == 0) print_qr(&qr);
}

/* Of IPv6 alone: on it nobody is reached by IPv4. */
static int is_only_six(const char *address) { return address != NULL && strchr(address, ':') != NULL; }

#ifdef HAS_GETIFADDRS
/* The address of an interface as text; "" if others on the network can't use it. */
static void usable_address(const struct sockaddr *address, char text[INET6_ADDRSTRLEN])
{
    text[0] = '\0';
    if (address == NULL) return;
    if (address->sa_family == AF_INET) {
        const struct in_addr *four = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
        if (ntohl(four->s_addr) >> 24 == 127) return;
        (void)inet_ntop(AF_INET, four, text, INET6_ADDRSTRLEN);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        if (IN6_IS_ADDR_LOOPBACK(six) || IN6_IS_ADDR_LINKLOCAL(six)) return; /* a URL has no place for the zone */
        (void)inet_ntop(AF_INET6, six, text, INET6_ADDRSTRLEN);
    }
}

static int print_interfaces(struct chat *chat)
{
    const char *only = chat->settings.address; /* every address, but of one family */
    struct ifaddrs *first, *each;
    char text[INET6_ADDRSTRLEN];
    int count = 0;

    if (getifaddrs(&first) != 0) return 0;
    for (each = first; each != NULL; each = each->ifa_next) {
        usable_address(each->ifa_addr, text);
        if (text[0] == '\0') continue;
        if (only != NULL && is_only_six(only) != is_only_six(text)) continue;
        print_address(chat, text);
        count++;
    }
    freeifaddrs(first);
    return count;
}
#else
/* The address from which the network is reached: connecting a datagram socket sends nothing. */
static int print_interfaces(struct chat *chat)
{
    struct sockaddr_in there, here;
    socklen_t length = sizeof here;
    char text[INET6_ADDRSTRLEN];
    int count = 0, fd = socket(AF_INET, SOCK_DGRAM, 0);

    memset(&there, 0, sizeof there);
    there.sin_family = AF_INET;
    there.sin_port = htons(9);
    there.sin_addr.s_addr = htonl(0xC0000201U); /* 192.0.2.1, for documentation (RFC 5737) */
    if (fd < 0) return 0;
    if (!is_only_six(chat->settings.address) && connect(fd, (struct sockaddr *)(void *)&there, sizeof there) == 0 &&
        getsockname(fd, (struct sockaddr *)(void *)&here, &length) == 0 &&
        inet_ntop(AF_INET, &here.sin_addr, text, sizeof text) != NULL) {
        print_address(chat, text);
        count = 1;
    }
    (void)close(fd);
    return count;
}
#endif

static void print_banner(struct chat *chat, size_t memory)
{
    const char *address = chat->settings.address;
    int is_local = address != NULL && (strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0);

    (void)fprintf(stderr, "snug " VERSION " is open. %s by\n",
                  is_local ? "Only this machine comes in" : "Others on this network come in");
    if (address != NULL && strcmp(address, "0.0.0.0") != 0 && strcmp(address, "::") != 0) print_address(chat, address);
    else if (print_interfaces(chat) == 0) print_address(chat, is_only_six(address) ? "::1" : "127.0.0.1");
    print_first_address(chat);
    (void)fprintf(stderr, "data file %s\nmemory %zu KiB at most\n", store_path(chat->store), (memory + 1023) / 1024);
}

/* Makes the open-files limit fit the connections, or the connections fit the limit. */
static int fit_connections(struct settings *settings)
{
    struct rlimit limit;
    rlim_t want = (rlim_t)settings->connections + OTHER_FILES, allowed, hard;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0; /* then there is none to fit */
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= want) return 0;
    allowed = limit.rlim_cur;
    hard = limit.rlim_max;
    limit.rlim_cur = want;
    if (hard != RLIM_INFINITY && hard < want) limit.rlim_max = want;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) return 0;
    limit.rlim_cur = limit.rlim_max = hard;
    if (hard < want && setrlimit(RLIMIT_NOFILE, &limit) == 0) allowed = hard; /* else it can't be raised at all */
    if (!settings->asked_connections && allowed > OTHER_FILES) { /* at least one */
        settings->connections = (size_t)allowed - OTHER_FILES;
        return 0;
    }
    (void)fprintf(stderr, "snug: the open-files limit (ulimit -n) allows %lu, but %lu connections need %lu.\n",
                  (unsigned long)allowed, (unsigned long)settings->connections, (unsigned long)want);
    return -1;
}

/* ---- signals ---- */

static int signal_pipe[2] = {-1, -1}; /* handlers can reach nothing else */

static void on_signal(int number)
{
    int error = errno;
    unsigned char byte = (unsigned char)number;

    (void)!write(signal_pipe[1], &byte, 1); /* a full pipe wakes the loop as well */
    errno = error;
}

static void read_signals(void *context)
{
    struct chat *chat = context;
    unsigned char numbers[64];
    ssize_t i, count = read(chat->signal_fd, numbers, sizeof numbers);

    for (i = 0; i < count; i++) {
        if (numbers[i] == SIGUSR1) store_rewrite(chat->store, now_of(chat));
        else chat->stops = 1;
    }
}

static int catch_signal(int number, void (*handler)(int))
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    (void)sigemptyset(&action.sa_mask); /* can't fail */
    return sigaction(number, &action, NULL);
}

static int set_up_signals(struct chat *chat)
{
    struct sigaction before;
    int i;

    if (pipe(signal_pipe) != 0) return -1;
    for (i = 0; i < 2; i++) {
        if (fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK) != 0) return -1;
        if (fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC) != 0) return -1;
    }
    chat->signal_fd = signal_pipe[0];
    if (catch_signal(SIGPIPE, SIG_IGN) != 0 || catch_signal(SIGXFSZ, SIG_IGN) != 0) return -1;
    if (catch_signal(SIGINT, on_signal) != 0 || catch_signal(SIGTERM, on_signal) != 0) return -1;
    if (catch_signal(SIGUSR1, on_signal) != 0 || sigaction(SIGHUP, NULL, &before) != 0) return -1;
    return before.sa_handler == SIG_IGN ? 0 : catch_signal(SIGHUP, on_signal); /* under nohup it stays ignored */
}

/* ---- main ---- */

/* Standard input, output and error, where they are closed: else a file or a pipe of ours would take their numbers, and
 * what is printed would go there. */
static int open_standard(void)
{
    int fd;

    for (fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) return -1;
    }
    return 0;
}

static void fill_store_options(struct chat *chat, struct store_options *store_options)
{
    memset(store_options, 0, sizeof *store_options);
    store_options->file = chat->settings.file;
    store_options->rooms = chat->settings.rooms;
    store_options->history = chat->settings.history;
    store_options->members = chat->settings.members;
    store_options->hold_ms = chat->settings.hold_ms;
    store_options->rate = chat->settings.rate;
    store_options->sync = chat->settings.sync;
    store_options->context = chat;
    store_options->changed = room_changed;
    store_options->synced = more_lasts;
    store_options->tell = tell_operator;
}

/* The sockets that systemd has opened for us (sd_listen_fds(3)). */
static size_t count_passed(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t number;

    if (pid == NULL || http_number(bytes_of(pid), INT_MAX, &number) != 0 || number != (uint64_t)getpid()) return 0;
    return count != NULL && http_number(bytes_of(count), INT_MAX, &number) == 0 ? (size_t)number : 0;
}

static void fill_http_options(const struct chat *chat, struct http_options *http_options)
{
    memset(http_options, 0, sizeof *http_options);
    http_options->address = chat->settings.address;
    http_options->port = chat->settings.port;
    http_options->sockets = count_passed();
    http_options->connections = chat->settings.connections;
    http_options->peer = chat->settings.peer;
    http_options->proxies = (const unsigned char (*)[HTTP_ADDRESS_SIZE])chat->settings.proxies;
    http_options->proxy_count = chat->settings.proxy_count;
    http_options->channels = chat->settings.rooms + 1; /* sync_channel */
    http_options->cursor_size = sizeof(struct reader);
    http_options->peer_size = sizeof(struct address);
    http_options->fields = "X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n";
}

/* Opens store and server, in this order: the file's lock is taken before the port. */
static int open_chat(struct chat *chat)
{
    struct http_app app = {.check = check_request,
                           .handle = answer_request,
                           .next = next_span,
                           .took = took_span,
                           .resume = resume_request,
                           .gone = reader_gone,
                           .forgettable = is_forgettable};
    struct http_options http_options;
    struct store_options store_options;
    struct http_time clock = http_clock();
    struct store_time now;
    char reason[STORE_REASON_SIZE];
    unsigned char seed[8];
    size_t i, memory;

    fill_store_options(chat, &store_options);
    fill_http_options(chat, &http_options);
    if (http_options.sockets > 0) chat->settings.address = NULL; /* it says nothing then */
    memory = store_memory(&store_options);
    if (memory > SIZE_MAX - sizeof *chat || http_memory(&http_options) > SIZE_MAX - sizeof *chat - memory) {
        (void)fprintf(stderr, "snug: rooms, history, members or connections are more than this machine can address.\n");
        return -1;
    }
    memory += http_memory(&http_options) + sizeof *chat; /* the page is in it */
    if (read_random(chat, seed, sizeof seed) != 0) {
        (void)fprintf(stderr, "snug: /dev/urandom gives nothing (%s).\n", strerror(errno));
        return -1;
    }
    for (i = 0; i < sizeof seed; i++) store_options.seed = store_options.seed << 8 | seed[i];
    now.wall_ms = clock.wall_ms;
    now.mono_ms = clock.mono_ms;
    chat->store = store_open(&store_options, now, reason);
    if (chat->store == NULL) {
        (void)fprintf(stderr, "snug: %s\n", reason);
        return -1;
    }
    app.context = chat;
    chat->server = http_open(&http_options, &app, reason);
    if (chat->server == NULL) {
        (void)fprintf(stderr, "snug: %s\n", reason);
        (void)store_close(chat->store, now); /* it says itself what went wrong */
        return -1;
    }
    (void)sprintf(chat->cookie_name, "snug%u", (unsigned)http_port(chat->server)); /* cookies know no ports */
    http_watch(chat->server, chat->signal_fd, read_signals, chat);
    chat->sync_fd = store_sync_fd(chat->store);
    if (chat->sync_fd >= 0) http_watch(chat->server, chat->sync_fd, read_synced, chat);
    print_banner(chat, memory);
    return 0;
}

static int run(struct chat *chat)
{
    struct store_time now;
    int result = 0;

    while (!chat->stops && result == 0) {
        result = http_turn(chat->server, store_tick(chat->store, now_of(chat)));
    }
    if (result != 0) (void)fprintf(stderr, "snug: poll() fails (%s).\n", strerror(errno));
    now = now_of(chat);
    http_close(chat->server);
    chat->server = NULL;
    /* What went wrong the store has told. The old file has every message, but not where this was its only writing. */
    if (store_close(chat->store, now) != 0 && chat->settings.sync == STORE_SYNC_EXIT) result = -1;
    return result == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct chat chat;
    int status;

    if (open_standard() != 0) return 1; /* there is nowhere to say so */
    set_fallbacks(&chat.settings);
    status = read_command(&chat.settings, argc, argv);
    if (status >= 0) return status;
    if (gethostname(chat.own_name, sizeof chat.own_name - 1) != 0) chat.own_name[0] = '\0';
    host_name(bytes_of(chat.own_name), chat.own_name);
    unpack_page(chat.page);
    make_page_fields(&chat);
    chat.random_fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (chat.random_fd < 0) {
        (void)fprintf(stderr, "snug: /dev/urandom can't be opened (%s): there are no safe tokens without it.\n",
                      strerror(errno));
        return 1;
    }
    if (set_up_signals(&chat) != 0) {
        (void)fprintf(stderr, "snug: signals can't be set up (%s).\n", strerror(errno));
        return 1;
    }
    if (fit_connections(&chat.settings) != 0 || open_chat(&chat) != 0) return 1;
    return run(&chat);
}
