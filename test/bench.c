/* bench.c: a load generator for snug and what it is measured against. For Linux alone: epoll, /proc.
 *
 *     bench limit NAME=VALUE...   the limit: a loop of send() calls to so many sockets, with no HTTP at all
 *     bench load NAME=VALUE...    event streams, and publishers whose every message must reach each of them, in order
 *     bench ask NAME=VALUE...     one request over and over
 *
 * `load` and `ask` print one line of JSON. The exit status is 1, and stderr has a sentence, if anything went wrong: a
 * delivery lost, doubled or out of order, an answer other than the one expected.
 *
 * Closed load: each publisher has one message in flight, and says the next when the last has been answered and has
 * reached every reader. With rate=N messages have their times, and latency counts from these. Latency is from the
 * message's beginning to its end's arrival at each reader. The load spins, so that the server does not pay for waking
 * it. The server's time is the scheduler's own (nanoseconds on a core, /proc/PID/schedstat). */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLIGHTS 65536        /* messages in flight at most, a power of two */
#define BATCH 64             /* streams opened at once: a server's backlog holds them */
#define EVENTS 512           /* taken from epoll at once */
#define INPUT_SIZE (1 << 18) /* one recv() */
#define CARRY_MAX 65536      /* of an event whose end has not come: people are 32 KiB at most */
#define MESSAGE_MAX 16384    /* a request with its message */
#define FIRST_ID 1000000000u /* of the frames that are not snug's: as long as its own */
#define COOKIE_SIZE 64
#define ANSWER_HEAD_MAX 2048
#define QUIET_NS 300000000   /* nothing comes any more */
#define STUCK_NS 15000000000 /* nothing comes though something should */
#define SETTLE_NS 180000000000
#define SECOND_NS 1000000000

/* ---- settings ---- */

enum peer { SNUG, NCHAN, LIMIT };

struct settings {
    const char *server; /* snug, nchan or limit */
    const char *path;   /* of `ask`: what to GET; NULL: it sends messages */
    const char *etag;   /* of `ask`: the answer is 304 */
    long port, pid, core;
    long subscribers, rooms, members; /* MEMBERS in a room at most: they share its readers */
    long others, idle;                /* readers of another room; connections that ask for nothing */
    long publishers, messages, warmup, rate, text;
    long rest_s;                      /* a time without messages, whose cost is measured */
    long pipeline, requests, seconds; /* of `ask` */
    enum peer peer;
};

static const struct option {
    const char *name;
    size_t offset;
    int is_text;
    long fallback;
} options[] = {
    {"server", offsetof(struct settings, server), 1, 0},
    {"path", offsetof(struct settings, path), 1, 0},
    {"etag", offsetof(struct settings, etag), 1, 0},
    {"port", offsetof(struct settings, port), 0, 8080},
    {"pid", offsetof(struct settings, pid), 0, 0},
    {"core", offsetof(struct settings, core), 0, -1},
    {"subscribers", offsetof(struct settings, subscribers), 0, 0},
    {"rooms", offsetof(struct settings, rooms), 0, 1},
    {"members", offsetof(struct settings, members), 0, 256},
    {"others", offsetof(struct settings, others), 0, 0},
    {"idle", offsetof(struct settings, idle), 0, 0},
    {"publishers", offsetof(struct settings, publishers), 0, 1},
    {"messages", offsetof(struct settings, messages), 0, 1000},
    {"warmup", offsetof(struct settings, warmup), 0, 100},
    {"rate", offsetof(struct settings, rate), 0, 0},
    {"text", offsetof(struct settings, text), 0, 32},
    {"rest", offsetof(struct settings, rest_s), 0, 0},
    {"pipeline", offsetof(struct settings, pipeline), 0, 1},
    {"requests", offsetof(struct settings, requests), 0, 0},
    {"seconds", offsetof(struct settings, seconds), 0, 2},
};

#define OPTION_COUNT (sizeof options / sizeof options[0])

static void die(const char *form, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *form, ...)
{
    va_list arguments;

    va_start(arguments, form);
    (void)fprintf(stderr, "bench: ");
    (void)vfprintf(stderr, form, arguments);
    (void)fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static void set_option(struct settings *settings, const char *argument)
{
    const char *value = strchr(argument, '=');
    size_t i, length = value != NULL ? (size_t)(value++ - argument) : 0;
    void *place;
    char *end;

    for (i = 0; i < OPTION_COUNT; i++) {
        if (strlen(options[i].name) == length && memcmp(options[i].name, argument, length) == 0) break;
    }
    if (value == NULL || i == OPTION_COUNT) die("%s is no option.", argument);
    place = (char *)settings + options[i].offset;
    if (options[i].is_text) {
        *(const char **)place = value;
        return;
    }
    *(long *)place = strtol(value, &end, 10);
    if (end == value || *end != '\0') die("%s is no number.", argument);
}

static void read_settings(struct settings *settings, int argc, char **argv)
{
    static const char *const peers[] = {"snug", "nchan", "limit"}; /* as enum peer has them */
    size_t i;

    memset(settings, 0, sizeof *settings);
    settings->server = "snug";
    for (i = 0; i < OPTION_COUNT; i++) {
        if (!options[i].is_text) *(long *)(void *)((char *)settings + options[i].offset) = options[i].fallback;
    }
    while (argc-- > 0) set_option(settings, *argv++);
    for (i = 0; i < 3 && strcmp(settings->server, peers[i]) != 0; i++) continue;
    if (i == 3) die("server=%s is not snug, nchan or limit.", settings->server);
    settings->peer = (enum peer)i;
    if (settings->publishers >= FLIGHTS) die("There can't be so many publishers.");
    if (settings->text < 16 || settings->text > 4000) die("A text has 16 to 4000 bytes.");
}

/* As many descriptors as may be; on a core of our own, if one is given. */
static void take_resources(long core)
{
    struct rlimit files;
    cpu_set_t set;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (core < 0) return;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) die("There is no core %ld (%s).", core, strerror(errno));
}

/* ---- what the system says ---- */

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* never fails */
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* The first number behind LABEL in /proc/PID/NAME. */
static int64_t read_proc(long pid, const char *name, const char *label)
{
    char path[64], text[4096];
    const char *at;
    size_t length;
    FILE *file;

    if (pid == 0) return 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    file = fopen(path, "r");
    if (file == NULL) die("%s can't be read: the server is gone.", path);
    length = fread(text, 1, sizeof text - 1, file);
    (void)fclose(file);
    text[length] = '\0';
    at = strstr(text, label);
    return at != NULL ? strtoll(at + strlen(label), NULL, 10) : 0;
}

static int64_t cpu_ns(const struct settings *settings) { return read_proc(settings->pid, "schedstat", ""); }

static int64_t pss_bytes(const struct settings *settings)
{
    return read_proc(settings->pid, "smaps_rollup", "\nPss:") * 1024;
}

/* ---- latencies: each power of two in 32 parts ---- */

struct latencies {
    uint64_t counts[64 * 32], total;
    int64_t most;
};

static void note_latency(struct latencies *latencies, int64_t ns)
{
    uint64_t value = ns > 31 ? (uint64_t)ns : 32;
    unsigned power = 63 - (unsigned)__builtin_clzll(value);

    latencies->counts[power * 32 + (value >> (power - 5)) - 32]++;
    latencies->total++;
    if (ns > latencies->most) latencies->most = ns;
}

/* The latency that a SHARE is not above, in microseconds. */
static double percentile(const struct latencies *latencies, double share)
{
    uint64_t left = (uint64_t)((double)latencies->total * share);
    unsigned i;

    for (i = 0; i < 64 * 32 - 1 && latencies->counts[i] <= left; i++) left -= latencies->counts[i];
    return i < 160 ? 0 : (double)((uint64_t)(33 + i % 32) << (i / 32 - 5)) / 1000;
}

static void print_latencies(const struct latencies *latencies)
{
    (void)printf("\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"most_us\":%.1f", percentile(latencies, 0.5),
                 percentile(latencies, 0.99), percentile(latencies, 0.999), (double)latencies->most / 1000);
}

/* ---- connections, and answers on them ---- */

static struct sockaddr_in loopback(long port)
{
    struct sockaddr_in address;

    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int connect_to(long port)
{
    struct sockaddr_in address = loopback(port);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)(void *)&address, sizeof address) != 0) {
        die("Can't connect to port %ld (%s).", port, strerror(errno));
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* What comes on FD is its OWNER's. */
static void watch(int epoll, int fd, uintptr_t owner)
{
    struct epoll_event event;

    event.events = EPOLLIN;
    event.data.u64 = owner;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl: %s", strerror(errno));
}

/* Requests are short and their peers read them: what does not go out at once goes out soon. */
static void send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = send(fd, bytes, length, MSG_NOSIGNAL);
        if (count < 0) die("A connection broke (%s).", strerror(errno));
        bytes += count;
        length -= (size_t)count;
    }
}

/* Where the reading of a connection's answers stands. */
struct answers {
    char head[ANSWER_HEAD_MAX];
    size_t length;    /* of the head, as far as it has come */
    size_t body_left;
    int in_body;
};

/* The length of the body behind a head; it must be the answer expected. */
static size_t body_of(const char *head, int is_304)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");
    int status = strncmp(head, "HTTP/1.1 ", 9) == 0 ? atoi(head + 9) : 0;

    if (is_304 ? status != 304 : status / 100 != 2) die("Unexpected answer: %.300s", head);
    if (is_304 || status == 204) return 0;
    if (field == NULL) die("Answer of unknown length: %.300s", head);
    return (size_t)strtoul(field + 17, NULL, 10);
}

/* Reads on in the answers. Returns how many have come whole. */
static long count_answers(struct answers *answers, const char *at, size_t left, int is_304)
{
    long count = 0;

    while (left > 0) {
        if (answers->in_body) {
            size_t skipped = left < answers->body_left ? left : answers->body_left;
            answers->body_left -= skipped;
            at += skipped;
            left -= skipped;
        } else {
            size_t room = sizeof answers->head - 1 - answers->length, taken = left < room ? left : room;
            char *end;
            if (room == 0) die("An answer's head is too long.");
            memcpy(answers->head + answers->length, at, taken);
            answers->head[answers->length + taken] = '\0';
            end = strstr(answers->head, "\r\n\r\n");
            if (end != NULL) taken = (size_t)(end + 4 - answers->head) - answers->length;
            answers->length += taken;
            at += taken;
            left -= taken;
            if (end == NULL) continue;
            end[2] = '\0';
            answers->body_left = body_of(answers->head, is_304);
            answers->in_body = 1;
        }
        if (answers->in_body && answers->body_left == 0) {
            answers->in_body = 0;
            answers->length = 0;
            count++;
        }
    }
    return count;
}

static char input[CARRY_MAX + INPUT_SIZE]; /* what is at work; an event's beginning that came before stands in front */

/* Waits for one answer, whose head is then in ANSWERS. */
static void await_answer(int fd, struct answers *answers)
{
    ssize_t count;

    answers->length = 0;
    answers->in_body = 0;
    do {
        count = recv(fd, input, INPUT_SIZE, 0);
        if (count <= 0) die("A connection ended in a request.");
    } while (count_answers(answers, input, (size_t)count, 0) == 0);
}

/* Takes a name in ROOM and keeps its cookie. */
static void join_room(int fd, const char *room, long name, char cookie[COOKIE_SIZE])
{
    struct answers answers;
    char request[256], form[32];
    const char *field;
    int length = snprintf(form, sizeof form, "name=m%ld", name);

    length = snprintf(request, sizeof request, "POST /r/%s/join HTTP/1.1\r\nHost: localhost\r\n"
                      "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", room, length,
                      form);
    send_all(fd, request, (size_t)length);
    await_answer(fd, &answers);
    field = strcasestr(answers.head, "\r\nSet-Cookie: ");
    if (field == NULL) die("No cookie: %.300s", answers.head);
    (void)snprintf(cookie, COOKIE_SIZE, "%.*s", (int)strcspn(field + 14, ";\r"), field + 14);
}

/* ---- the load ---- */

struct room {
    char name[24];
    char (*cookies)[COOKIE_SIZE];
    long member_count;
    uint64_t count; /* messages that a reader has seen */
    long readers;
};

/* Each reader of a room must see its messages in the order in which the first to see them did, and with snug their
 * ids must go up one by one. */
struct subscriber {
    struct room *room;
    uint64_t count;    /* messages seen */
    uint64_t id;       /* the last one's */
    char *carry;       /* an event that has not come to its end */
    size_t carry_length;
    long here;         /* people, as last told */
    int fd, is_open;   /* its head has come */
};

struct flight {
    uint32_t number;
    int is_seen;
    struct room *room;
    struct publisher *publisher;
    uint64_t place;    /* in the room's order, once seen */
    int64_t begun_ns;
    long left;         /* readers it has not reached */
};

struct publisher {
    int fd, is_answered;
    struct flight *flight; /* NULL: free */
    struct answers answers;
};

struct load {
    struct settings settings;
    int epoll;
    struct room *rooms;      /* the last is the others' */
    struct subscriber *subscribers;
    struct publisher *publishers;
    struct flight flights[FLIGHTS];
    uint32_t begun, done;    /* messages */
    uint64_t deliveries, lost, doubled, strange, beats, bytes;
    long open;               /* streams whose head has come */
    int64_t heard_ns;        /* something came last */
    struct latencies latencies;
    double join_s, stream_s, settle_s;
};

static void land(struct load *load, struct flight *flight)
{
    if (flight->left > 0 || !flight->publisher->is_answered) return;
    flight->publisher->flight = NULL;
    load->done++;
}

/* Message NUMBER has come to SUBSCRIBER, as the server's ID. */
static void deliver(struct load *load, struct subscriber *subscriber, uint32_t number, uint64_t id, int64_t now)
{
    struct flight *flight = &load->flights[number % FLIGHTS];

    if (flight->number != number || flight->room != subscriber->room || flight->left == 0) {
        load->strange++;
        return;
    }
    if (!flight->is_seen) {
        flight->is_seen = 1;
        flight->place = flight->room->count++;
    }
    if (flight->place < subscriber->count) {
        load->doubled++;
        return;
    }
    load->lost += flight->place - subscriber->count;
    subscriber->count = flight->place + 1;
    if (load->settings.peer == SNUG && subscriber->id != 0 && id != subscriber->id + 1) load->strange++;
    subscriber->id = id;
    load->deliveries++;
    note_latency(&load->latencies, now - flight->begun_ns);
    flight->left--;
    land(load, flight);
}

/* One event, its empty line cut off. Messages are told by their text, people by their count. */
static void read_event(struct load *load, struct subscriber *subscriber, const char *at, size_t length, int64_t now)
{
    const char *text = memmem(at, length, "bench ", 6);

    if (text != NULL) {
        uint64_t id = length > 4 && memcmp(at, "id: ", 4) == 0 ? strtoull(at + 4, NULL, 10) : 0;
        deliver(load, subscriber, (uint32_t)strtoul(text + 6, NULL, 10), id, now);
    } else if (length > 0 && at[0] == ':') {
        load->beats++;
    } else if ((text = memmem(at, length, "\"here\":", 7)) != NULL) {
        subscriber->here = strtol(text + 7, NULL, 10);
    }
}

/* Reads what has come to a stream, its head first. */
static void read_stream(struct load *load, struct subscriber *subscriber)
{
    ssize_t count = recv(subscriber->fd, input + subscriber->carry_length, INPUT_SIZE, MSG_DONTWAIT);
    size_t left = subscriber->carry_length + (size_t)count;
    const char *at = input, *end;
    int64_t now;

    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) die("A stream ended.");
    now = load->heard_ns = now_ns();
    load->bytes += (size_t)count;
    if (subscriber->carry_length > 0) memcpy(input, subscriber->carry, subscriber->carry_length);
    if (!subscriber->is_open) {
        end = memmem(at, left, "\r\n\r\n", 4);
        if (end != NULL) {
            if (memcmp(at, "HTTP/1.1 200", 12) != 0) die("Unexpected answer: %.300s", at);
            left -= (size_t)(end + 4 - at);
            at = end + 4;
            subscriber->is_open = 1;
            load->open++;
        }
    }
    while (subscriber->is_open && (end = memmem(at, left, "\n\n", 2)) != NULL) {
        read_event(load, subscriber, at, (size_t)(end - at), now);
        left -= (size_t)(end + 2 - at);
        at = end + 2;
    }
    if (left > CARRY_MAX) die("An event is too long.");
    if (left > 0 || subscriber->carry_length > 0) {
        subscriber->carry = realloc(subscriber->carry, left > 0 ? left : 1);
        if (subscriber->carry == NULL) die("There is not enough memory.");
        subscriber->carry_length = left;
        memcpy(subscriber->carry, at, left);
    }
}

static void read_answer(struct load *load, struct publisher *publisher)
{
    ssize_t count = recv(publisher->fd, input, INPUT_SIZE, MSG_DONTWAIT);

    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) die("The server closed a publisher's connection.");
    load->heard_ns = now_ns();
    if (load->settings.peer != LIMIT && count_answers(&publisher->answers, input, (size_t)count, 0) == 0) return;
    if (publisher->flight == NULL || publisher->is_answered) die("An answer to nothing.");
    publisher->is_answered = 1;
    land(load, publisher->flight);
}

/* Handles what has come; waits WAIT_MS at most. */
static void turn(struct load *load, int wait_ms)
{
    struct epoll_event events[EVENTS];
    int i, count = epoll_wait(load->epoll, events, EVENTS, wait_ms);

    for (i = 0; i < count; i++) {
        uintptr_t owner = (uintptr_t)events[i].data.u64;
        if (owner & 1) read_answer(load, (struct publisher *)(owner - 1));
        else read_stream(load, (struct subscriber *)owner);
    }
}

/* ---- saying ---- */

/* Message NUMBER as it is told to the server; the frames that the three send have about one length. */
static size_t write_message(const struct settings *settings, const struct room *room, uint32_t number, char *out)
{
    static const char padding[] = "-----------------------------------------------------------------------------------";
    char text[4096], body[MESSAGE_MAX / 2];
    size_t length = (size_t)snprintf(text, sizeof text, "bench %u ", number);
    int size;

    while (length < (size_t)settings->text) {
        length += (size_t)snprintf(text + length, (size_t)settings->text + 1 - length, "%s", padding);
        if (length > (size_t)settings->text) length = (size_t)settings->text;
    }
    if (settings->peer == SNUG) {
        text[5] = text[strcspn(text + 6, " ") + 6] = '+';
        return (size_t)snprintf(out, MESSAGE_MAX, "POST /r/%s/send HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n"
                                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\ntext=%s",
                                room->name, room->cookies[number % (uint32_t)room->member_count], length + 5, text);
    }
    size = snprintf(body, sizeof body, "{\"id\":%u,\"t\":1700000000123,\"by\":1181783497,\"name\":\"m0\","
                    "\"text\":\"%s\"}", FIRST_ID + number, text);
    if (settings->peer == LIMIT) {
        return (size_t)snprintf(out, MESSAGE_MAX, "id: %u\ndata: %s\n\n", FIRST_ID + number, body);
    }
    return (size_t)snprintf(out, MESSAGE_MAX,
                            "POST /pub/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", room->name,
                            size, body);
}

/* Says the next message, which was to begin at BEGUN_NS. The rooms take turns. */
static void say(struct load *load, struct publisher *publisher, int64_t begun_ns)
{
    uint32_t number = ++load->begun;
    struct flight *flight = &load->flights[number % FLIGHTS];
    char message[MESSAGE_MAX];
    size_t length;

    if (flight->left > 0) die("Too many messages are in flight.");
    flight->number = number;
    flight->is_seen = 0;
    flight->room = &load->rooms[number % (uint32_t)load->settings.rooms];
    flight->publisher = publisher;
    flight->begun_ns = begun_ns;
    flight->left = flight->room->readers;
    publisher->flight = flight;
    publisher->is_answered = 0;
    length = write_message(&load->settings, flight->room, number, message);
    send_all(publisher->fd, message, length);
}

static void report_faults(const struct load *load)
{
    if (load->lost + load->doubled + load->strange == 0) return;
    die("Of %llu deliveries %llu are lost, %llu doubled or late, %llu unexpected or out of order.",
        (unsigned long long)load->deliveries, (unsigned long long)load->lost, (unsigned long long)load->doubled,
        (unsigned long long)load->strange);
}

/* Says COUNT messages and sees them arrive. */
static void say_all(struct load *load, uint32_t count)
{
    uint32_t first = load->begun, end = load->done + count;
    int64_t start_ns = now_ns();
    long i;

    load->heard_ns = start_ns;
    while (load->done != end) {
        for (i = 0; i < load->settings.publishers && load->begun != end; i++) {
            int64_t now = now_ns(), due_ns = now;
            if (load->publishers[i].flight != NULL) continue;
            if (load->settings.rate > 0) {
                due_ns = start_ns + (int64_t)(load->begun - first) * SECOND_NS / load->settings.rate;
            }
            if (due_ns > now) break;
            say(load, &load->publishers[i], due_ns);
        }
        turn(load, 0);
        if (now_ns() - load->heard_ns > STUCK_NS) {
            report_faults(load);
            die("%u of %u messages have not reached everybody.", end - load->done, count);
        }
    }
    report_faults(load);
}

/* ---- opening ---- */

static void join_all(struct load *load, struct room *room, long members, int fd)
{
    long i;

    room->member_count = members;
    room->cookies = calloc((size_t)members, COOKIE_SIZE);
    if (room->cookies == NULL) die("There is not enough memory.");
    for (i = 0; i < members && load->settings.peer == SNUG; i++) join_room(fd, room->name, i, room->cookies[i]);
}

static void open_stream(struct load *load, struct subscriber *subscriber, struct room *room)
{
    const char *cookie = room->cookies[room->readers % room->member_count];
    char request[512];
    int length = 0;

    subscriber->room = room;
    subscriber->fd = connect_to(load->settings.port);
    if (load->settings.peer == SNUG) {
        length = snprintf(request, sizeof request, "GET /r/%s/events HTTP/1.1\r\nHost: localhost\r\nCookie: %s\r\n\r\n",
                          room->name, cookie);
    } else if (load->settings.peer == NCHAN) {
        length = snprintf(request, sizeof request,
                          "GET /sub/%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", room->name);
    } else {
        subscriber->is_open = 1;
        load->open++;
    }
    send_all(subscriber->fd, request, (size_t)length);
    watch(load->epoll, subscriber->fd, (uintptr_t)subscriber);
    room->readers++;
}

/* Those who share READERS streams; one at least, who may publish. */
static long members_of(const struct load *load, long readers)
{
    long members = readers < load->settings.members ? readers : load->settings.members;

    return members > 0 ? members : 1;
}

/* Waits until the first COUNT streams know of everybody who is here, and nothing comes any more. */
static void settle(struct load *load, long count)
{
    int64_t start_ns = now_ns();
    long i = 0;

    load->heard_ns = start_ns;
    while (i < count || now_ns() - load->heard_ns < QUIET_NS) {
        const struct subscriber *subscriber = &load->subscribers[i];
        turn(load, 1);
        if (now_ns() - start_ns > SETTLE_NS) die("Streams were not told who is here.");
        if (load->settings.peer != SNUG) i = count;
        while (i < count && subscriber->here == subscriber->room->member_count) subscriber = &load->subscribers[++i];
    }
    for (i = 0; i < count && load->settings.peer == SNUG; i++) {
        if (load->subscribers[i].here != load->subscribers[i].room->member_count) die("People came or went.");
    }
}

/* Opens streams FROM to TO; stream i reads in the room i % settings.rooms, and the others in their own. */
static void open_streams(struct load *load, long from, long to)
{
    long i;

    for (i = from; i < to; i++) {
        long number = i < load->settings.subscribers ? i % load->settings.rooms : load->settings.rooms;
        open_stream(load, &load->subscribers[i], &load->rooms[number]);
        load->heard_ns = now_ns();
        while (i % BATCH == 0 && load->open < i + 1) {
            turn(load, 1);
            if (now_ns() - load->heard_ns > STUCK_NS) die("Streams do not open.");
        }
        turn(load, 0);
    }
}

/* Connections that have asked once and keep quiet. */
static void open_idle(const struct load *load)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct answers answers;
    long i;

    for (i = 0; i < load->settings.idle; i++) {
        int fd = connect_to(load->settings.port);
        if (load->settings.peer == LIMIT) continue;
        send_all(fd, request, sizeof request - 1);
        await_answer(fd, &answers);
    }
}

/* Everybody joins, then each member gets a stream; when all know of all, those come who share a name with others: who
 * is here does not change with them. */
static void open_all(struct load *load)
{
    const struct settings *settings = &load->settings;
    long i, count = settings->subscribers + settings->others, each = settings->subscribers / settings->rooms, first;
    int64_t start_ns = now_ns(), joined_ns;
    int fd = settings->peer == SNUG ? connect_to(settings->port) : -1;

    if (each * settings->rooms != settings->subscribers) die("Each room has as many subscribers.");
    for (i = 0; i <= settings->rooms; i++) {
        (void)snprintf(load->rooms[i].name, sizeof load->rooms[i].name, "r%ld", i);
        join_all(load, &load->rooms[i], members_of(load, i < settings->rooms ? each : settings->others), fd);
    }
    if (fd >= 0) (void)close(fd);
    joined_ns = now_ns();
    load->join_s = (double)(joined_ns - start_ns) / SECOND_NS;
    first = each > 0 ? members_of(load, each) * settings->rooms : 0;
    open_streams(load, 0, first);
    if (settings->peer == SNUG) settle(load, first);
    open_streams(load, first, count);
    while (load->open < count) turn(load, 1);
    load->stream_s = (double)(now_ns() - joined_ns) / SECOND_NS;
    settle(load, count);
    load->settle_s = (double)(now_ns() - joined_ns) / SECOND_NS - load->stream_s;
    open_idle(load);
    for (i = 0; i < settings->publishers; i++) {
        load->publishers[i].fd = connect_to(settings->port);
        watch(load->epoll, load->publishers[i].fd, (uintptr_t)&load->publishers[i] + 1); /* odd: see turn */
    }
}

/* ---- what the three do ---- */

static void *zeros(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) die("There is not enough memory.");
    return memory;
}

/* Opens all streams and tells what that took. */
static void measure_opening(struct load *load)
{
    const struct settings *settings = &load->settings;
    double connections = (double)(settings->subscribers + settings->others + settings->idle);
    int64_t pss = pss_bytes(settings), cpu = cpu_ns(settings);

    open_all(load);
    (void)printf("{\"join_s\":%.3f,\"stream_s\":%.3f,\"settle_s\":%.3f,\"entry_s\":%.3f", load->join_s, load->stream_s,
                 load->settle_s, load->join_s + load->stream_s);
    if (connections < 1) return;
    (void)printf(",\"entry_us\":%.2f,\"entry_bytes\":%.1f,\"pss_per_connection\":%.1f",
                 (double)(cpu_ns(settings) - cpu) / 1000 / connections, (double)load->bytes / connections,
                 (double)(pss_bytes(settings) - pss) / connections);
}

static void measure_rest(struct load *load)
{
    const struct settings *settings = &load->settings;
    int64_t cpu = cpu_ns(settings), end_ns = now_ns() + settings->rest_s * SECOND_NS;

    load->beats = 0;
    while (now_ns() < end_ns) turn(load, 50);
    (void)printf(",\"rest_percent\":%.4f,\"beats\":%llu",
                 (double)(cpu_ns(settings) - cpu) * 100 / (double)(settings->rest_s * SECOND_NS),
                 (unsigned long long)load->beats);
}

static void measure_messages(struct load *load)
{
    const struct settings *settings = &load->settings;
    int64_t cpu = cpu_ns(settings), start_ns = now_ns();

    memset(&load->latencies, 0, sizeof load->latencies);
    load->deliveries = 0;
    say_all(load, (uint32_t)settings->messages);
    cpu = cpu_ns(settings) - cpu;
    (void)printf(",\"messages\":%ld,\"deliveries\":%llu,\"wall_s\":%.4f,\"cpu_us_per_message\":%.3f",
                 settings->messages, (unsigned long long)load->deliveries, (double)(now_ns() - start_ns) / SECOND_NS,
                 (double)cpu / 1000 / (double)settings->messages);
    if (load->deliveries == 0) return;
    (void)printf(",\"cpu_us_per_delivery\":%.4f,", (double)cpu / 1000 / (double)load->deliveries);
    print_latencies(&load->latencies);
}

static int run_load(const struct settings *settings)
{
    static struct load load;

    load.settings = *settings;
    load.epoll = epoll_create1(0);
    load.rooms = zeros((size_t)settings->rooms + 1, sizeof *load.rooms);
    load.subscribers = zeros((size_t)(settings->subscribers + settings->others), sizeof *load.subscribers);
    load.publishers = zeros((size_t)settings->publishers, sizeof *load.publishers);
    measure_opening(&load);
    if (settings->rest_s > 0) measure_rest(&load);
    say_all(&load, (uint32_t)settings->warmup);
    if (settings->messages > 0) measure_messages(&load);
    (void)printf("}\n");
    return 0;
}

/* ---- one request over and over ---- */

struct asker {
    int fd;
    long left; /* of the batch, to be answered */
    int64_t begun_ns;
    struct answers answers;
};

/* A batch of requests, as they are sent in one go. */
static char *write_batch(const struct settings *settings, size_t *length)
{
    char *batch = zeros((size_t)settings->pipeline, MESSAGE_MAX);
    struct room room;
    long i;

    memset(&room, 0, sizeof room);
    (void)snprintf(room.name, sizeof room.name, "r0");
    room.member_count = 1;
    room.cookies = zeros(1, COOKIE_SIZE);
    if (settings->path == NULL && settings->peer == SNUG) {
        int fd = connect_to(settings->port);
        join_room(fd, room.name, getpid(), room.cookies[0]);
        (void)close(fd);
    }
    for (*length = 0, i = 0; i < settings->pipeline; i++) {
        if (settings->path == NULL) {
            *length += write_message(settings, &room, (uint32_t)i, batch + *length);
            continue;
        }
        *length += (size_t)snprintf(batch + *length, MESSAGE_MAX / 2, "GET %s HTTP/1.1\r\nHost: localhost\r\n",
                                    settings->path);
        if (settings->etag != NULL) {
            *length += (size_t)snprintf(batch + *length, MESSAGE_MAX / 2, "If-None-Match: %s\r\n", settings->etag);
        }
        *length += (size_t)snprintf(batch + *length, 3, "\r\n");
    }
    free(room.cookies);
    return batch;
}

struct asking {
    struct settings settings;
    struct asker *askers;
    char *batch;
    size_t batch_length;
    int epoll;
    long asked, answered; /* requests */
    int64_t heard_ns;
    struct latencies latencies;
};

/* Whoever has his answers asks again. */
static void ask_all(struct asking *asking)
{
    long i;

    for (i = 0; i < asking->settings.publishers; i++) {
        struct asker *asker = &asking->askers[i];
        if (asker->left > 0) continue;
        asker->begun_ns = now_ns();
        asker->left = asking->settings.pipeline;
        asking->asked += asking->settings.pipeline;
        send_all(asker->fd, asking->batch, asking->batch_length);
    }
}

static void take_answers(struct asking *asking)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(asking->epoll, events, EVENTS, 0);
    int64_t now = now_ns();

    if (count > 0) asking->heard_ns = now;
    if (now - asking->heard_ns > STUCK_NS) die("%ld requests are not answered.", asking->asked - asking->answered);
    while (count-- > 0) {
        struct asker *asker = (struct asker *)(uintptr_t)events[count].data.u64;
        ssize_t size = recv(asker->fd, input, INPUT_SIZE, 0);
        if (size <= 0) die("The server closed a connection.");
        asker->left -= count_answers(&asker->answers, input, (size_t)size, asking->settings.etag != NULL);
        if (asker->left < 0) die("More answers than requests.");
        if (asker->left > 0) continue;
        asking->answered += asking->settings.pipeline;
        note_latency(&asking->latencies, now - asker->begun_ns);
    }
}

static int run_ask(const struct settings *settings)
{
    static struct asking asking;
    int64_t start_ns, cpu, wall_ns;
    long i;

    asking.settings = *settings;
    asking.askers = zeros((size_t)settings->publishers, sizeof *asking.askers);
    asking.batch = write_batch(settings, &asking.batch_length);
    asking.epoll = epoll_create1(0);
    for (i = 0; i < settings->publishers; i++) {
        asking.askers[i].fd = connect_to(settings->port);
        watch(asking.epoll, asking.askers[i].fd, (uintptr_t)&asking.askers[i]);
    }
    cpu = cpu_ns(settings);
    start_ns = asking.heard_ns = now_ns();
    while (settings->requests > 0 ? asking.asked < settings->requests :
                                    now_ns() - start_ns < settings->seconds * SECOND_NS) {
        ask_all(&asking);
        take_answers(&asking);
    }
    while (asking.answered < asking.asked) take_answers(&asking);
    wall_ns = now_ns() - start_ns;
    cpu = cpu_ns(settings) - cpu;
    (void)printf("{\"requests\":%ld,\"per_s\":%.0f,\"cpu_us_per_request\":%.3f,", asking.answered,
                 (double)asking.answered * SECOND_NS / (double)wall_ns, (double)cpu / 1000 / (double)asking.answered);
    print_latencies(&asking.latencies);
    (void)printf("}\n");
    return 0;
}

/* ---- the limit ---- */

static int accept_one(int listener)
{
    int one = 1, fd = accept(listener, NULL, NULL);

    if (fd < 0) die("accept: %s", strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* Whoever comes first reads, the last ones publish. The frame that one of these sends goes to the readers of its room,
 * and to him a byte. */
static int run_limit(const struct settings *settings)
{
    long readers = settings->subscribers, number, i, j;
    int *fds = zeros((size_t)readers + 1, sizeof *fds), listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct pollfd *publishers = zeros((size_t)settings->publishers, sizeof *publishers);
    struct sockaddr_in address = loopback(settings->port);

    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)(void *)&address, sizeof address) != 0 || listen(listener, 4096) != 0) {
        die("Can't listen on port %ld (%s).", settings->port, strerror(errno));
    }
    (void)fprintf(stderr, "listening\n");
    for (i = 0; i < readers; i++) fds[i] = accept_one(listener);
    for (i = 0; i < settings->publishers; i++) {
        publishers[i].fd = accept_one(listener);
        publishers[i].events = POLLIN;
    }
    while (poll(publishers, (nfds_t)settings->publishers, -1) > 0) {
        for (i = 0; i < settings->publishers; i++) {
            ssize_t length;
            if (publishers[i].revents == 0) continue;
            length = recv(publishers[i].fd, input, INPUT_SIZE, 0);
            if (length <= 0) return 0;
            number = strtol(input + 4, NULL, 10) - (long)FIRST_ID;
            for (j = number % settings->rooms; j < readers; j += settings->rooms) {
                if (send(fds[j], input, (size_t)length, MSG_NOSIGNAL) != length) die("send: %s", strerror(errno));
            }
            (void)send(publishers[i].fd, "\n", 1, MSG_NOSIGNAL);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct settings settings;

    if (argc < 2) die("limit, load or ask?");
    read_settings(&settings, argc - 2, argv + 2);
    take_resources(settings.core);
    if (strcmp(argv[1], "limit") == 0) return run_limit(&settings);
    if (strcmp(argv[1], "load") == 0) return run_load(&settings);
    if (strcmp(argv[1], "ask") == 0) return run_ask(&settings);
    die("%s is not limit, load or ask.", argv[1]);
}
