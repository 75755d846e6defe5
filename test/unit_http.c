/* unit_http.c: http.c's promises. Sockets are of paper: a caller says bytes, has room for so many, and keeps what it
 * hears. Time passes only in poll(), and only as far as a test lets it. */
#include "../http.c"

#include "unit.h"

#include <sys/mman.h>

#define SECOND 1000
#define CALLERS 4400
#define FIRST_FD 100000
#define CHANNELS 3
#define NEWS_SIZE (3 << 20)
#define ENDLESS SIZE_MAX
#define HOST "Host: a\r\n"
#define FORM "Content-Type: application/x-www-form-urlencoded\r\n"
#define PROXY "192.0.2.99"        /* these three are proxies in every test */
#define PROXY_SIX "2001:db8::99"
#define PROXY_HERE "127.0.0.99"
#define FOR(addresses) "X-Forwarded-For: " addresses "\r\n"
#define GET_FOR(target, addresses) "GET " target " HTTP/1.1\r\n" HOST FOR(addresses) "\r\n"
#define DATE "Date: Fri, 15 Jul 2022 12:00:00 GMT\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define HALF(fields) "POST /count HTTP/1.1\r\n" HOST FORM fields "Content-Length: 2\r\n\r\n"
#define POST(fields, content) "POST /echo HTTP/1.1\r\n" HOST FORM fields "\r\n" content

/* ---- callers: the other ends of the sockets ---- */

struct caller {
    char address[48];
    unsigned char *said, *heard;
    size_t said_length, said_at, heard_length, heard_at, heard_size;
    size_t room;            /* bytes it takes yet; ENDLESS */
    size_t mouthful;        /* bytes it takes at once; 0: any */
    int interrupts;         /* so many calls say EINTR first */
    int is_open, has_ended; /* we have it open; it has said all */
    int is_gone;            /* it has reset the connection */
    int is_shut, is_reset;  /* we have said all; we have reset it */
    int sndbuf, user_timeout_ms, peeks;
};

static struct {
    struct http_server *server;
    struct caller callers[CALLERS];
    size_t count, accepted;
    int64_t now_ms, wall_ms, until_ms;
    int asked_ms, found, polls; /* what the loop asked of poll() last, and what that found; how often it did */
    size_t polled;              /* of how many descriptors */
    int poll_errors, poll_errno;
    int accept_errors[16], accept_error_count, accepts;
    int fcntl_fails, watch_fd, is_watch_ready;
    const struct caller *late; /* what it says comes between poll() and accept() */
} world;

static struct caller *caller_of(int fd)
{
    assert_true(fd >= FIRST_FD && (size_t)(fd - FIRST_FD) < world.count);
    assert_true(world.callers[fd - FIRST_FD].is_open);
    return &world.callers[fd - FIRST_FD];
}

static short state_of_fd(const struct pollfd *entry)
{
    const struct caller *caller;
    short found = 0;

    if (entry->fd < 0) return 0;
    if (entry->fd == world.watch_fd) return world.is_watch_ready ? POLLIN : 0;
    if (entry->fd < FIRST_FD) { /* a listener */
        int is_ready = world.accepted < world.count || world.accept_error_count > 0;
        return (short)(is_ready ? entry->events & POLLIN : 0);
    }
    caller = caller_of(entry->fd);
    if (caller != world.late && (caller->said_at < caller->said_length || caller->has_ended)) found = POLLIN;
    if (caller->room > 0) found |= POLLOUT;
    found = (short)(found & entry->events);
    if (caller->is_gone) found |= POLLERR | POLLHUP;
    return found;
}

static int paper_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    int found = 0, is_loop = fds == world.server->busy.fds;
    nfds_t i;

    if (is_loop) {
        world.asked_ms = timeout_ms;
        world.polled = count;
        world.polls++;
    } else {
        assert_int_equal(timeout_ms, 0);
        assert_in_range(fds - world.server->quiet.fds + (ptrdiff_t)count, count, world.server->quiet.count);
    }
    if (world.poll_errors > 0) {
        world.poll_errors--;
        world.found = 1;
        errno = world.poll_errno;
        return -1;
    }
    for (i = 0; i < count; i++) {
        fds[i].revents = state_of_fd(&fds[i]);
        found += fds[i].revents != 0;
    }
    if (is_loop) world.found = found;
    if (found == 0 && is_loop && timeout_ms != 0) {
        int64_t left_ms = world.until_ms - world.now_ms;
        if (timeout_ms > 0 && timeout_ms < left_ms) left_ms = timeout_ms;
        world.now_ms += left_ms;
        world.wall_ms += left_ms;
    }
    return found;
}

static int paper_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    struct caller *caller = &world.callers[world.accepted];
    struct sockaddr_in four;
    struct sockaddr_in6 six;

    (void)fd;
    world.accepts++;
    world.late = NULL;
    if (world.accept_error_count > 0) {
        errno = world.accept_errors[0];
        memmove(world.accept_errors, world.accept_errors + 1, sizeof world.accept_errors - sizeof(int));
        world.accept_error_count--;
        return -1;
    }
    if (world.accepted == world.count) {
        errno = EAGAIN;
        return -1;
    }
    memset(&four, 0, sizeof four);
    memset(&six, 0, sizeof six);
    if (inet_pton(AF_INET, caller->address, &four.sin_addr) == 1) {
        four.sin_family = AF_INET;
        memcpy(address, &four, sizeof four);
        *length = sizeof four;
    } else {
        six.sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, caller->address, &six.sin6_addr), 1);
        memcpy(address, &six, sizeof six);
        *length = sizeof six;
    }
    caller->is_open = 1;
    return FIRST_FD + (int)world.accepted++;
}

static int is_interrupted(struct caller *caller)
{
    if (caller->interrupts == 0) return 0;
    caller->interrupts--;
    errno = EINTR;
    return 1;
}

static ssize_t paper_recv(int fd, void *bytes, size_t size, int flags)
{
    struct caller *caller = caller_of(fd);
    size_t there = caller->said_length - caller->said_at;

    assert_true(size > 0);
    if (is_interrupted(caller)) return -1;
    if (caller->is_gone) {
        errno = ECONNRESET;
        return -1;
    }
    if (there == 0) {
        errno = EAGAIN;
        return caller->has_ended ? 0 : -1;
    }
    if (there > size) there = size;
    memcpy(bytes, caller->said + caller->said_at, there);
    if (flags & MSG_PEEK) caller->peeks++; else caller->said_at += there;
    return (ssize_t)there;
}

static void hear(struct caller *caller, const void *bytes, size_t length)
{
    if (caller->heard_length + length + 1 > caller->heard_size) {
        caller->heard_size = 2 * (caller->heard_length + length + 1);
        caller->heard = realloc(caller->heard, caller->heard_size);
        assert_non_null(caller->heard);
    }
    if (length > 0) memcpy(caller->heard + caller->heard_length, bytes, length);
    caller->heard_length += length;
    caller->heard[caller->heard_length] = '\0';
}

static ssize_t paper_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct caller *caller = caller_of(fd);
    size_t i, left = caller->room, sent = 0;

    assert_int_equal(flags, MSG_NOSIGNAL);
    assert_false(caller->is_shut);
    assert_true(message->msg_iovlen > 0);
    if (is_interrupted(caller)) return -1;
    if (caller->is_gone || left == 0) {
        errno = caller->is_gone ? EPIPE : EAGAIN;
        return -1;
    }
    if (caller->mouthful > 0 && caller->mouthful < left) left = caller->mouthful;
    for (i = 0; i < message->msg_iovlen && left > 0; i++) {
        size_t part = message->msg_iov[i].iov_len < left ? message->msg_iov[i].iov_len : left;
        hear(caller, message->msg_iov[i].iov_base, part);
        left -= part;
        sent += part;
    }
    assert_true(sent > 0); /* nothing is sent without a byte */
    if (caller->room != ENDLESS) caller->room -= sent;
    return (ssize_t)sent;
}

static ssize_t paper_send(int fd, const void *bytes, size_t size, int flags)
{
    union {
        const void *in;
        void *out;
    } base;
    struct iovec part;
    struct msghdr message;

    base.in = bytes;
    part.iov_base = base.out;
    part.iov_len = size;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return paper_sendmsg(fd, &message, flags);
}

static int paper_fcntl(int fd, int command, int flags)
{
    if (fd < FIRST_FD) return set_flags(fd, command, flags);
    return world.fcntl_fails ? -1 : 0;
}

static int paper_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    struct caller *caller = caller_of(fd);

    if (level == SOL_SOCKET && name == SO_LINGER) {
        const struct linger *linger = value;
        assert_int_equal(length, sizeof *linger);
        caller->is_reset = linger->l_onoff == 1 && linger->l_linger == 0;
    } else if (level == SOL_SOCKET && name == SO_SNDBUF) {
        memcpy(&caller->sndbuf, value, sizeof caller->sndbuf);
#ifdef TCP_USER_TIMEOUT
    } else if (level == IPPROTO_TCP && name == TCP_USER_TIMEOUT) {
        memcpy(&caller->user_timeout_ms, value, sizeof caller->user_timeout_ms);
#endif
    }
    return 0;
}

static int paper_shutdown(int fd, int how)
{
    struct caller *caller = caller_of(fd);

    assert_int_equal(how, SHUT_WR);
    caller->is_shut = 1;
    errno = ENOTCONN;
    return caller->is_gone ? -1 : 0;
}

static int paper_close(int fd)
{
    if (fd < FIRST_FD) return close(fd);
    caller_of(fd)->is_open = 0;
    return 0;
}

static int64_t paper_clock(clockid_t clock) { return clock == CLOCK_REALTIME ? world.wall_ms : world.now_ms; }

static struct caller *dial(const char *address)
{
    struct caller *caller = &world.callers[world.count++];

    assert_true(world.count <= CALLERS);
    memset(caller, 0, sizeof *caller);
    strcpy(caller->address, address);
    caller->room = ENDLESS;
    hear(caller, "", 0);
    return caller;
}

static void say_bytes(struct caller *caller, const void *bytes, size_t length)
{
    size_t left = caller->said_length - caller->said_at;
    unsigned char *said = malloc(left + length + 1);

    assert_non_null(said);
    if (left > 0) memcpy(said, caller->said + caller->said_at, left);
    if (length > 0) memcpy(said + left, bytes, length);
    free(caller->said);
    caller->said = said;
    caller->said_at = 0;
    caller->said_length = left + length;
}

static void say(struct caller *caller, const char *text) { say_bytes(caller, text, strlen(text)); }

/* What it has heard since this was asked last; good until it hears more. */
static const char *heard(struct caller *caller)
{
    const char *text = (const char *)caller->heard + caller->heard_at;

    caller->heard_at = caller->heard_length;
    return text;
}

static int has_heard(const struct caller *caller, const char *text)
{
    return strstr((const char *)caller->heard + caller->heard_at, text) != NULL;
}

/* ---- the application ---- */

struct cursor {
    int is_active;       /* it streams, is held or pulled */
    enum { STREAM, HOLD, PULL } kind;
    size_t channel, at, note; /* a stream's next byte of news; the length of its first note, 0 when that is taken */
    size_t unit, units, unit_length, last_unit; /* a pulled answer's; at LAST_UNIT it breaks off */
    size_t offered;      /* length of the span that was offered last */
    int64_t deadline_ms;
    enum { ANSWER_LATER, PULL_LATER, DROP_LATER } later;
};

static struct {
    unsigned char news[CHANNELS][NEWS_SIZE];
    size_t news_length[CHANNELS];
    int has_ended[CHANNELS], holds_again[CHANNELS];
    int wakes_when_taken; /* so often `took` wakes its channel */
    int checks, gone, resumed, expired;
    int is_forgettable, asked_forgettable;
    unsigned char page[100000];
} app;

static size_t number_in(struct http_bytes query, size_t index, size_t fallback)
{
    struct http_bytes piece = {NULL, 0};
    uint64_t number;

    while (query.at != NULL) {
        piece = cut(&query, '.');
        if (index-- == 0) return http_number(piece, SIZE_MAX, &number) == 0 ? (size_t)number : fallback;
    }
    return fallback;
}

static int app_check(void *context, struct http_request *request)
{
    assert_ptr_equal(context, &app);
    assert_true(request->method != HTTP_OTHER);
    app.checks++;
    if (http_equals(request->path, "/fickle") ? app.checks % 2 != 0 : !http_equals(request->path, "/refused")) return 0;
    http_refuse(request->connection, 403, "X-Refused: yes\r\n", "Not here.");
    return -1;
}

static struct cursor *activate(struct http_request *request, int kind)
{
    struct cursor *cursor = http_cursor(request->connection);

    assert_false(cursor->is_active);
    memset(cursor, 0, sizeof *cursor);
    cursor->kind = kind;
    if (!http_is_head(request->connection)) cursor->is_active = 1;
    return cursor;
}

static void app_stream(struct http_request *request)
{
    struct cursor *cursor = activate(request, STREAM);

    cursor->channel = number_in(request->query, 0, 0);
    cursor->note = number_in(request->query, 1, 0);
    http_stream(request->connection, http_channel(world.server, cursor->channel), "X-Stream: yes\r\n");
}

static void app_hold(struct http_request *request)
{
    struct cursor *cursor = activate(request, HOLD);

    cursor->channel = number_in(request->query, 0, 0);
    cursor->deadline_ms = world.server->now.mono_ms + (int64_t)number_in(request->query, 1, 30000);
    cursor->later = (int)number_in(request->query, 2, ANSWER_LATER);
    http_hold(request->connection, http_channel(world.server, cursor->channel), cursor->deadline_ms);
}

static void app_pull(struct http_request *request)
{
    struct cursor *cursor = activate(request, PULL);

    cursor->units = number_in(request->query, 0, 3);
    cursor->unit_length = number_in(request->query, 1, 20);
    cursor->last_unit = number_in(request->query, 2, SIZE_MAX);
    http_pull(request->connection, NULL);
}

static struct http_bytes or_dash(struct http_bytes bytes)
{
    struct http_bytes dash = {(const unsigned char *)"-", 1};

    return bytes.at != NULL ? bytes : dash;
}

/* Answers with what was asked: "METHOD PATH QUERY AUTHORITY 1.MINOR LENGTH [CONTENT]", cut off where it is too long. */
static void app_echo(struct http_request *request)
{
    static char body[HTTP_HEAD_MAX + HTTP_CONTENT_MAX];
    struct http_answer answer = {200, "text/plain", NULL, body, 0, 0};
    struct http_bytes query = or_dash(request->query), authority = or_dash(request->authority);
    size_t length = (size_t)snprintf(body, sizeof body, "%d %.*s %.*s %.*s 1.%d %zu [", (int)request->method,
                                     (int)request->path.length, (const char *)request->path.at, (int)query.length,
                                     (const char *)query.at, (int)authority.length, (const char *)authority.at,
                                     request->minor, request->content_length);

    assert_true(length + request->content_length < sizeof body);
    if (request->content_length > 0) memcpy(body + length, request->content, request->content_length);
    body[length + request->content_length] = ']';
    answer.length = length + request->content_length + 1;
    if (answer.length > HTTP_ANSWER_MAX) answer.length = HTTP_ANSWER_MAX;
    http_reply(request->connection, &answer);
}

/* Answers with how often the client has asked this, and LOCAL if it is on this machine. */
static void app_count(struct http_request *request)
{
    struct http_answer answer = {200, "text/plain", NULL, NULL, 0, 0};
    char body[32];

    answer.length = (size_t)sprintf(body, "%d%s", ++*(unsigned char *)http_peer(request->connection),
                                    http_is_loopback(request->connection) ? " LOCAL" : "");
    answer.body = body;
    http_reply(request->connection, &answer);
}

static void app_handle(void *context, struct http_request *request)
{
    struct http_answer none = {204, NULL, NULL, NULL, 0, 0};
    struct http_answer page = {200, "text/html", NULL, app.page, sizeof app.page, 1};
    struct http_answer big = {200, "text/plain", NULL, app.page, HTTP_ANSWER_MAX, 0};
    struct http_answer same = {304, NULL, "ETag: \"x\"\r\n", "not sent", 8, 0};

    assert_ptr_equal(context, &app);
    if (!http_may_wait(request->connection) &&
        (http_equals(request->path, "/stream") || http_equals(request->path, "/hold"))) {
        http_refuse(request->connection, 503, NULL, "Too many.");
    } else if (http_equals(request->path, "/stream")) {
        app_stream(request);
    } else if (http_equals(request->path, "/hold")) {
        app_hold(request);
    } else if (http_equals(request->path, "/pull")) {
        app_pull(request);
    } else if (http_equals(request->path, "/count")) {
        app_count(request);
    } else if (http_equals(request->path, "/page")) {
        http_reply(request->connection, &page);
    } else if (http_equals(request->path, "/big")) {
        http_reply(request->connection, &big);
    } else if (http_equals(request->path, "/none")) {
        http_reply(request->connection, &none);
    } else if (http_equals(request->path, "/same")) {
        http_reply(request->connection, &same);
    } else if (http_equals(request->path, "/wake")) {
        http_wake(world.server, http_channel(world.server, number_in(request->query, 0, 0)));
        http_reply(request->connection, &none);
    } else {
        app_echo(request);
    }
}

static enum http_next next_of_stream(struct cursor *cursor, struct http_span *span)
{
    if (app.has_ended[cursor->channel]) return HTTP_END;
    if (cursor->note > 0) {
        memset(span->scratch, 'N', cursor->note);
        span->at = span->scratch;
        span->length = cursor->offered = cursor->note;
        return HTTP_NOTE;
    }
    if (cursor->at == app.news_length[cursor->channel]) return HTTP_NOTHING;
    span->at = app.news[cursor->channel] + cursor->at;
    span->length = cursor->offered = app.news_length[cursor->channel] - cursor->at;
    return HTTP_BYTES;
}

static enum http_next app_next(void *context, void *cursor_bytes, struct http_span *span)
{
    struct cursor *cursor = cursor_bytes;

    assert_ptr_equal(context, &app);
    assert_true(cursor->is_active && cursor->kind != HOLD);
    if (cursor->kind == STREAM) return next_of_stream(cursor, span);
    if (cursor->unit == cursor->last_unit) return HTTP_END;
    if (cursor->unit == cursor->units) {
        cursor->is_active = 0;
        return HTTP_NOTHING;
    }
    memset(span->scratch, 'a' + (int)cursor->unit % 26, HTTP_SPAN_MAX);
    span->at = cursor->unit_length <= HTTP_SPAN_MAX ? span->scratch : app.news[0];
    span->length = cursor->offered = cursor->unit_length;
    return HTTP_BYTES;
}

static void app_took(void *context, void *cursor_bytes, size_t count)
{
    struct cursor *cursor = cursor_bytes;

    (void)context;
    assert_true(cursor->is_active && count <= cursor->offered);
    if (cursor->kind == PULL) {
        assert_int_equal(count, cursor->unit_length);
        cursor->unit++;
    } else if (cursor->note > 0) {
        assert_int_equal(count, cursor->note);
        cursor->note = 0;
    } else {
        cursor->at += count;
    }
    if (app.wakes_when_taken > 0) {
        app.wakes_when_taken--;
        http_wake(world.server, http_channel(world.server, cursor->channel));
    }
}

static void app_resume(void *context, struct http_connection *connection, int is_expired)
{
    struct cursor *cursor = http_cursor(connection);
    struct http_answer answer = {200, "text/plain", NULL, is_expired ? "expired" : "woken", is_expired ? 7 : 5, 0};

    (void)context;
    assert_true(cursor->is_active && cursor->kind == HOLD);
    app.resumed++;
    app.expired += is_expired;
    if (!is_expired && app.holds_again[cursor->channel]) {
        http_hold(connection, http_channel(world.server, cursor->channel), cursor->deadline_ms);
        return;
    }
    if (cursor->later == DROP_LATER) {
        cursor->is_active = 0;
        http_drop(connection);
        return;
    }
    if (cursor->later == PULL_LATER) {
        cursor->kind = PULL;
        cursor->unit = 0;
        cursor->units = 2;
        cursor->unit_length = 9000;
        cursor->last_unit = SIZE_MAX;
        http_pull(connection, NULL);
        return;
    }
    cursor->is_active = 0;
    http_reply(connection, &answer);
}

static void app_gone(void *context, void *cursor_bytes)
{
    struct cursor *cursor = cursor_bytes;

    (void)context;
    assert_true(cursor->is_active);
    cursor->is_active = 0;
    app.gone++;
}

static int app_forgettable(void *context, const void *peer)
{
    (void)context;
    app.asked_forgettable++;
    return app.is_forgettable && *(const unsigned char *)peer != 'K';
}

/* Adds to a channel's news and wakes it. */
static void tell(size_t channel, const char *text)
{
    size_t length = strlen(text);

    assert_true(app.news_length[channel] + length <= NEWS_SIZE);
    memcpy(app.news[channel] + app.news_length[channel], text, length);
    app.news_length[channel] += length;
    http_wake(world.server, http_channel(world.server, channel));
}

/* ---- what must hold between two turns ---- */

static size_t count_list(const struct link *list, unsigned states)
{
    const struct link *link;
    size_t count = 0;
    int64_t since_ms = INT64_MIN;

    for (link = list->next; link != list; link = link->next) {
        const struct http_connection *connection = CONTAINER(link, const struct http_connection, turn);
        assert_true(states & 1U << connection->state);
        assert_ptr_equal(link->next->prev, link);
        if (list != &world.server->held && list != &world.server->free) {
            assert_true(connection->since_ms >= since_ms); /* lists are in the order of time */
            since_ms = connection->since_ms;
        }
        count++;
    }
    return count;
}

static int is_on(const struct link *list, const struct link *wanted)
{
    const struct link *link;

    for (link = list->next; link != list && link != wanted; link = link->next) continue;
    return link == wanted;
}

/* The part of the poll set and the events that a connection's state demands. */
static void check_place(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    int waits = connection->state == ANSWERING || (connection->state == STREAMING && is_linked(&connection->turn)) ||
                (connection->state == HELD && connection->out != NULL);
    int is_quiet = (connection->state == HELD || connection->state == STREAMING) && !waits;
    struct part *part = is_quiet ? &server->quiet : &server->busy;

    assert_int_equal(connection->is_quiet, is_quiet);
    assert_true(connection->spot < part->count && (is_quiet || connection->spot >= server->fixed));
    assert_ptr_equal(part->owners[connection->spot], connection);
    assert_int_equal(part->fds[connection->spot].fd, connection->fd);
    assert_int_equal(part->fds[connection->spot].events, waits ? POLLOUT : POLLIN);
    assert_true(caller_of(connection->fd)->is_open);
}

static void check_connection(struct http_connection *connection)
{
    const struct cursor *cursor = http_cursor(connection);
    const struct buffer *in = connection->in, *out = connection->out;

    if (world.server->app.context == &app) assert_int_equal(cursor->is_active, has_cursor(connection));
    assert_int_equal(is_linked(&connection->reader), connection->state == HELD || connection->state == STREAMING);
    if (in != NULL) assert_true(in->start < in->end && in->end <= BUFFER_SIZE);
    if (out != NULL) assert_true(out->start < out->end && out->end <= BUFFER_SIZE);
    if (connection->state != FREE) check_place(connection);
    switch (connection->state) {
    case FREE:
    case IDLE:
    case CLOSING: assert_true(in == NULL && out == NULL && connection->body.length == 0 && !connection->pulls); break;
    case READING_HEAD: assert_true(in != NULL && in->head_length == 0 && out == NULL); break;
    case READING_CONTENT: assert_true(in != NULL && in->head_length > 0 && out == NULL); break;
    case ANSWERING: assert_true(in != NULL || out != NULL || connection->body.length > 0 || connection->pulls); break;
    case STREAMING:
        assert_true(in == NULL && (out == NULL || is_linked(&connection->turn)));
        break;
    default: assert_int_equal(connection->state, HELD);
    }
}

static size_t check_counts(void)
{
    struct http_server *server = world.server;
    size_t i, used = 0, open = 0, polled = 0, free_buffers = server->buffer_count - server->buffers_used;
    const struct buffer *buffer;

    assert_true(server->slots_used <= server->slots && server->buffers_used <= server->buffer_count);
    for (i = 0; i < server->slots_used; i++) {
        struct http_connection *connection = (void *)(server->connections + i * server->connection_size);
        check_connection(connection);
        used += (connection->in != NULL) + (size_t)(connection->out != NULL);
        open += connection->state != FREE && connection->state != CLOSING;
        polled += connection->state != FREE;
    }
    for (buffer = server->free_buffers; buffer != NULL; buffer = buffer->next_free) free_buffers++;
    assert_int_equal(free_buffers, server->free_buffer_count);
    assert_int_equal(free_buffers + used, server->buffer_count);
    assert_true(free_buffers >= BUFFERS_FREE);
    assert_int_equal(open, server->open);
    assert_true(open <= server->options.connections);
    assert_int_equal(polled, server->busy.count - server->fixed + server->quiet.count);
    assert_true(server->fixed <= server->active && server->active <= server->recent);
    assert_true(server->recent <= server->busy.count);
    for (i = server->active; i < server->busy.count; i++) assert_int_equal(server->busy.fds[i].revents, 0);
    return polled;
}

/* The connections that count for PEER: its own, and what streams or is held for it by way of a proxy. */
static size_t count_of(const struct peer *peer)
{
    struct http_server *server = world.server;
    size_t i, count = 0;

    for (i = 0; i < server->slots_used; i++) {
        const struct http_connection *connection = (void *)(server->connections + i * server->connection_size);
        if (connection->state == FREE || connection->state == CLOSING) continue;
        count += connection->peer == peer;
        if (connection->state != HELD && connection->state != STREAMING) continue;
        count += connection->client == peer && connection->peer != peer;
    }
    return count;
}

static void check_peers(void)
{
    struct http_server *server = world.server;
    size_t i, sum = 0, counted = 0;

    for (i = 0; i < server->slots_used; i++) {
        const struct http_connection *connection = (void *)(server->connections + i * server->connection_size);
        if (connection->state == FREE || connection->state == CLOSING) continue;
        assert_true(connection->is_proxy || connection->client == connection->peer);
        counted += connection->state == HELD || connection->state == STREAMING ? connection->client != connection->peer : 0;
    }
    for (i = 0; i < server->peers_used; i++) {
        const struct peer *peer = peer_at(server, i);
        sum += peer->connections;
        if (peer->connections > 0) assert_int_equal(peer->connections, count_of(peer));
        if (i > 0 || peer->connections > 0) assert_int_equal(is_linked(&peer->quiet), peer->connections == 0);
        if (is_linked(&peer->quiet)) assert_true(is_on(&server->quiet_peers, &peer->quiet));
    }
    assert_int_equal(sum, server->open + counted); /* so those without any have none */
}

static void check_world(void)
{
    struct http_server *server = world.server;
    size_t polled = check_counts(), listed, readers = 0, held, streaming = 0, i, blocked = 0;

    listed = count_list(&server->idle, 1U << IDLE);
    listed += count_list(&server->incomplete, 1U << READING_HEAD | 1U << READING_CONTENT);
    listed += count_list(&server->stalled, 1U << ANSWERING | 1U << STREAMING);
    listed += held = count_list(&server->held, 1U << HELD);
    listed += count_list(&server->closing, 1U << CLOSING);
    assert_int_equal(count_list(&server->free, 1U << FREE) + polled, server->slots_used);
    for (i = 0; i < server->slots_used; i++) {
        const struct http_connection *connection = (void *)(server->connections + i * server->connection_size);
        streaming += connection->state == STREAMING;
        blocked += connection->state == STREAMING && is_linked(&connection->turn);
    }
    assert_int_equal(listed + streaming - blocked, polled);
    for (i = 0; i < server->options.channels; i++) {
        struct http_channel *channel = http_channel(server, i);
        const struct link *link;
        for (link = channel->readers.next; link != &channel->readers; link = link->next) readers++;
        for (link = channel->due.next; link != &channel->due; link = link->next) readers++;
        if (is_linked(&channel->due)) assert_true(is_on(&server->woken, &channel->woken));
    }
    assert_int_equal(readers, held + streaming);
    check_peers();
}

/* ---- turns, and time ---- */

static void turn(void)
{
    world.until_ms = world.now_ms;
    assert_int_equal(http_turn(world.server, -1), 0);
    check_world();
}

/* Turns until the loop would sleep; it must come to that. */
static void settle(void)
{
    int left = 3000;

    do {
        world.until_ms = world.now_ms;
        assert_int_equal(http_turn(world.server, -1), 0);
        assert_true(left-- > 0); /* else it is a busy loop */
    } while (world.asked_ms == 0 || world.found > 0);
    check_world();
}

/* Lets MS pass, as poll() would: the loop is woken when it asked for that. */
static void later(int64_t ms)
{
    int64_t end_ms = world.now_ms + ms;
    int left = 20000;

    do {
        world.until_ms = end_ms;
        assert_int_equal(http_turn(world.server, -1), 0);
        assert_true(left-- > 0);
    } while (world.now_ms < end_ms);
    turn(); /* the timers come first in a turn */
    settle();
}

/* Turns as often as there is something to do at once, at most TIMES. */
static void turns(int times)
{
    while (times-- > 0) turn();
}

/* ADDRESS as http.c keeps it. */
static void bytes_of_address(const char *address, unsigned char bytes[HTTP_ADDRESS_SIZE])
{
    memcpy(bytes, "\0\0\0\0\0\0\0\0\0\0\xFF\xFF", 12);
    if (inet_pton(AF_INET, address, bytes + 12) != 1) assert_int_equal(inet_pton(AF_INET6, address, bytes), 1);
}

/* Opens a server with so many connections, and so many from one address. */
static void open_server(size_t connections, size_t peer)
{
    static unsigned char proxies[3][HTTP_ADDRESS_SIZE];
    struct http_options options;
    struct http_app calls = {NULL, app_check, app_handle, app_next, app_took, app_resume, app_gone, app_forgettable};
    char reason[HTTP_REASON_SIZE];
    struct http_calls paper = {paper_poll, paper_accept, paper_recv, paper_send, paper_sendmsg, paper_fcntl,
                               paper_setsockopt, paper_shutdown, paper_close, paper_clock};

    memset(&world, 0, sizeof world);
    memset(&options, 0, sizeof options);
    world.now_ms = 1000000;
    world.wall_ms = 1657886400000; /* Fri, 15 Jul 2022 12:00:00 GMT */
    world.watch_fd = -1;
    memset(app.news_length, 0, sizeof app.news_length);
    memset(app.has_ended, 0, sizeof app.has_ended);
    memset(app.holds_again, 0, sizeof app.holds_again);
    app.checks = app.gone = app.resumed = app.expired = app.wakes_when_taken = app.asked_forgettable = 0;
    app.is_forgettable = 1;
    memset(app.page, 'p', sizeof app.page);
    net = paper;
    calls.context = &app;
    options.address = "127.0.0.1";
    options.connections = connections;
    options.peer = peer;
    bytes_of_address(PROXY, proxies[0]);
    bytes_of_address(PROXY_SIX, proxies[1]);
    bytes_of_address(PROXY_HERE, proxies[2]);
    options.proxies = (const unsigned char (*)[HTTP_ADDRESS_SIZE])proxies;
    options.proxy_count = 3;
    options.channels = CHANNELS;
    options.cursor_size = sizeof(struct cursor);
    options.peer_size = 32;
    options.fields = "X-Server: s\r\n";
    world.server = http_open(&options, &calls, reason);
    assert_non_null(world.server);
    assert_true(http_port(world.server) > 0);
}

/* Every caller hangs up; then nothing may be left. */
static void close_server(void)
{
    size_t i;

    for (i = 0; i < world.count; i++) {
        world.callers[i].has_ended = 1;
        world.callers[i].room = ENDLESS;
        world.callers[i].mouthful = 0;
    }
    later(4 * SECOND);
    later(4 * SECOND);
    later(70 * SECOND);
    assert_int_equal(world.server->open, 0);
    assert_int_equal(world.server->free_buffer_count, world.server->buffer_count);
    assert_int_equal(world.server->busy.count, world.server->fixed);
    assert_int_equal(world.server->quiet.count, 0);
    turn();
    assert_int_equal(world.asked_ms, -1);
    for (i = 0; i < world.count; i++) assert_false(world.callers[i].is_open);
    http_close(world.server);
    for (i = 0; i < world.count; i++) {
        free(world.callers[i].said);
        free(world.callers[i].heard);
    }
    world.count = 0;
}

/* ---- answers ---- */

struct answer {
    int status, is_whole, is_chunked, closes;
    char head[1024];
    unsigned char body[200000];
    size_t length;
};

static const char *field_of(const struct answer *answer, const char *name)
{
    static char value[256];
    const char *at = strstr(answer->head, name);

    if (at == NULL) return NULL;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at + strlen(name), "\r"), at + strlen(name));
    return value;
}

static void read_chunks(struct caller *caller, struct answer *answer)
{
    for (;;) {
        char *at = (char *)caller->heard + caller->heard_at, *end = (char *)caller->heard + caller->heard_length, *data;
        size_t size = strtoul(at, &data, 16);
        if (data == at || end - data < 2 || (size_t)(end - data) < size + 4) return;
        assert_memory_equal(data, "\r\n", 2);
        memcpy(answer->body + answer->length, data + 2, size);
        answer->length += size;
        assert_memory_equal(data + 2 + size, "\r\n", 2);
        caller->heard_at = (size_t)(data + 4 + size - (char *)caller->heard);
        if (size == 0) {
            answer->is_whole = 1;
            return;
        }
    }
}

/* Reads the next answer that CALLER heard. Returns its status, 0 if there is none. */
static int next_answer(struct caller *caller, int is_head, struct answer *answer)
{
    const char *at = (const char *)caller->heard + caller->heard_at, *end = strstr(at, "\r\n\r\n"), *length;
    size_t left;

    memset(answer, 0, offsetof(struct answer, body));
    answer->length = 0;
    if (end == NULL) return 0;
    assert_memory_equal(at, "HTTP/1.1 ", 9);
    answer->status = atoi(at + 9);
    assert_true((size_t)(end - at) + 3 < sizeof answer->head);
    memcpy(answer->head, at, (size_t)(end - at) + 2);
    answer->closes = strstr(answer->head, "\r\nConnection: close\r\n") != NULL;
    answer->is_chunked = strstr(answer->head, "\r\nTransfer-Encoding: chunked\r\n") != NULL;
    caller->heard_at += (size_t)(end - at) + 4;
    left = caller->heard_length - caller->heard_at;
    length = field_of(answer, "\r\nContent-Length: ");
    answer->is_whole = 1;
    if (is_head || answer->status < 200 || answer->status == 204 || answer->status == 304) return answer->status;
    if (answer->is_chunked) {
        answer->is_whole = 0;
        read_chunks(caller, answer);
        return answer->status;
    }
    if (length != NULL && strtoul(length, NULL, 10) <= left) left = strtoul(length, NULL, 10);
    else answer->is_whole = length == NULL;
    assert_true(left <= sizeof answer->body);
    memcpy(answer->body, caller->heard + caller->heard_at, left);
    answer->length = left;
    caller->heard_at += left;
    return answer->status;
}

static struct answer the_answer;

static int status_for(struct caller *caller) { return next_answer(caller, 0, &the_answer); }

static int body_is(const char *text)
{
    return the_answer.length == strlen(text) && memcmp(the_answer.body, text, the_answer.length) == 0;
}

/* Asks, and reads the answer. */
static int ask(struct caller *caller, const char *request)
{
    say(caller, request);
    settle();
    return status_for(caller);
}

/* ---- bytes that end before an unreadable page ---- */

#define GUARDED_SIZE ((size_t)1 << 17)

static unsigned char *guarded_end(void)
{
    static unsigned char *end;
    int fd;

    if (end != NULL) return end;
    fd = open("/dev/zero", O_RDWR);
    end = mmap(NULL, GUARDED_SIZE + 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    assert_true(end != MAP_FAILED);
    close(fd);
    end += GUARDED_SIZE;
    assert_int_equal(mprotect(end, 65536, PROT_NONE), 0);
    return end;
}

static struct http_bytes guarded_bytes(const void *bytes, size_t length)
{
    struct http_bytes copy;

    copy.at = memcpy(guarded_end() - length, bytes, length);
    copy.length = length;
    return copy;
}

static struct http_bytes guarded(const char *text) { return guarded_bytes(text, strlen(text)); }

/* A buffer whose last byte read is the last readable one. */
static struct buffer *guarded_buffer(const void *bytes, size_t length)
{
    size_t whole = (length + 15) / 16 * 16;
    struct buffer *in = (void *)(guarded_end() - whole - offsetof(struct buffer, bytes));

    if ((uintptr_t)in % 8 != 0) in = (void *)((unsigned char *)in - (uintptr_t)in % 8); /* then it ends a bit before */
    memset(in, 0, offsetof(struct buffer, bytes));
    in->start = whole - length;
    in->end = whole;
    memcpy(in->bytes + in->start, bytes, length);
    return in;
}

/* ---- rows of requests ---- */

struct row {
    const char *name, *bytes;
    size_t length;
    int status;
    const char *body; /* of the answer, NULL: any */
    int goes_on;      /* what follows is answered too */
};

#define B(bytes) bytes, sizeof(bytes) - 1
#define FOLLOWING "GET /following HTTP/1.1\r\n" HOST "\r\n"

/* Sends BYTES and a request behind them, cut at the CUTS, and returns all that was heard; the caller frees it. */
static char *hear_all(const char *bytes, size_t length, const size_t *cuts, size_t cut_count)
{
    struct caller *ann;
    size_t at = 0, i;
    char *all;

    if (world.count == CALLERS - 1) { /* the slots of callers are used again: all of them have gone */
        for (i = 0; i < world.count; i++) {
            assert_false(world.callers[i].is_open);
            free(world.callers[i].said);
            free(world.callers[i].heard);
        }
        world.count = world.accepted = 0;
    }
    ann = dial("127.0.0.1");
    turn();
    for (i = 0; i <= cut_count; i++) {
        size_t end = i < cut_count ? cuts[i] : length;
        say_bytes(ann, bytes + at, end - at);
        if (i == cut_count) say(ann, FOLLOWING);
        if (ann->is_open) turn();
        at = end;
    }
    while (ann->is_open && ann->said_at < ann->said_length) turn();
    ann->has_ended = 1;
    for (i = 0; i < 3 && ann->is_open; i++) turn(); /* a long answer is a turn's work */
    assert_false(ann->is_open);
    all = malloc(ann->heard_length + 1);
    assert_non_null(all);
    memcpy(all, ann->heard, ann->heard_length + 1);
    return all;
}

/* What was heard without the interim answers, which depend on how the bytes came. */
static void drop_interim(char *text)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t length = sizeof interim - 1;
    char *at;

    while ((at = strstr(text, interim)) != NULL) memmove(at, at + length, strlen(at + length) + 1);
}

static void check_row(const struct row *row, char *all)
{
    struct caller ann;

    memset(&ann, 0, sizeof ann);
    ann.heard = (unsigned char *)all;
    ann.heard_length = strlen(all);
    if (status_for(&ann) != row->status) fail_msg("%s: %d, not %d", row->name, the_answer.status, row->status);
    if (row->body != NULL && !body_is(row->body)) {
        fail_msg("%s: '%.*s'", row->name, (int)the_answer.length, (const char *)the_answer.body);
    }
    if (the_answer.closes == row->goes_on) fail_msg("%s: closes: %d", row->name, the_answer.closes);
    if (status_for(&ann) != (row->goes_on ? 200 : 0)) fail_msg("%s: then %d", row->name, the_answer.status);
    if (row->goes_on && !body_is("1 /following - a 1.1 0 []")) fail_msg("%s: what follows is wrong", row->name);
    assert_int_equal(ann.heard_at, ann.heard_length);
}

static void run_split(const struct row *row, const char *whole, const size_t *cuts, size_t count)
{
    char *all = hear_all(row->bytes, row->length, cuts, count);

    drop_interim(all);
    if (strcmp(all, whole) != 0) fail_msg("%s, split at %zu of %zu: %.300s", row->name, cuts[0], row->length, all);
    free(all);
}

/* Parses the head before an unreadable page. */
static void run_guarded(const struct row *row)
{
    static struct http_request request;
    struct buffer *in = guarded_buffer(row->bytes, row->length);
    size_t head_length = find_head_end(in);
    int status;

    if (head_length == 0 || head_length > HTTP_HEAD_MAX || row->bytes[0] == '\r') return;
    status = parse_head(&request, in->bytes + in->start, head_length);
    if (row->status == 200) assert_int_equal(status, 0);
    in = guarded_buffer(row->bytes, head_length); /* and the head alone */
    assert_int_equal(find_head_end(in), head_length);
    assert_int_equal(parse_head(&request, in->bytes + in->start, head_length), status);
}

/* Runs ROWS whole, a byte at a time, cut in two everywhere, and before an unreadable page. */
static void run_rows(const struct row *rows, size_t count)
{
    static size_t cuts[40000];
    size_t i, at, step;

    open_server(32, 0);
    for (i = 0; i < count; i++) {
        char *whole = hear_all(rows[i].bytes, rows[i].length, NULL, 0);
        drop_interim(whole);
        check_row(&rows[i], whole);
        for (at = 0; at + 1 < rows[i].length; at++) cuts[at] = at + 1;
        assert_true(at < sizeof cuts / sizeof cuts[0]);
        run_split(&rows[i], whole, cuts, at);
        step = rows[i].length > 1000 ? 509 : 1;
        for (at = 1; at < rows[i].length; at += step) run_split(&rows[i], whole, &at, 1);
        for (at = rows[i].length > 1000 ? rows[i].length - 12 : rows[i].length; at < rows[i].length; at++) {
            run_split(&rows[i], whole, &at, 1);
        }
        run_guarded(&rows[i]);
        free(whole);
    }
    close_server();
}

#define RUN(rows) run_rows(rows, sizeof(rows) / sizeof(rows)[0])
#define GOES 1 /* on: what follows is answered too */
#define ENDS 0

/* ---- heads ---- */

#define BAD(name, bytes) {name, B(bytes), 400, NULL, ENDS}
#define GOOD(name, bytes, body) {name, B(bytes), 200, body, GOES}
#define WITH(fields) "GET / HTTP/1.1\r\n" HOST fields "\r\n"
#define HOSTED(lines) "GET / HTTP/1.1\r\n" lines "\r\n"
#define ROOT "1 / - a 1.1 0 []"

static void test_request_lines(void **state)
{
    static const struct row rows[] = {
        GOOD("a plain request", GET("/"), ROOT),
        GOOD("a path and a query", GET("/a/b?c=d&e"), "1 /a/b c=d&e a 1.1 0 []"),
        GOOD("an empty query", GET("/?"), "1 /  a 1.1 0 []"),
        GOOD("two question marks", GET("/??"), "1 / ? a 1.1 0 []"),
        GOOD("escapes stay as they are", GET("/%41%20"), "1 /%41%20 - a 1.1 0 []"),
        GOOD("every method", "PUT / HTTP/1.1\r\n" HOST "\r\n", "8 / - a 1.1 0 []"),
        GOOD("DELETE", "DELETE / HTTP/1.1\r\n" HOST "\r\n", "16 / - a 1.1 0 []"),
        GOOD("TRACE", "TRACE / HTTP/1.1\r\n" HOST "\r\n", "128 / - a 1.1 0 []"),
        GOOD("PATCH", "PATCH / HTTP/1.1\r\n" HOST "\r\n", "256 / - a 1.1 0 []"),
        GOOD("asterisk form", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "64 * - a 1.1 0 []"),
        GOOD("authority form", "CONNECT a:80 HTTP/1.1\r\n" HOST "\r\n", "32 a:80 - a 1.1 0 []"),
        GOOD("absolute form: its authority counts", GET("http://b:8/x?y"), "1 /x y b:8 1.1 0 []"),
        GOOD("absolute form in capitals", GET("HTTP://B/x"), "1 /x - B 1.1 0 []"),
        BAD("https, which this is not", GET("https://b/x")),
        GOOD("absolute form without a path", GET("http://b"), "1 / - b 1.1 0 []"),
        GOOD("absolute form with a query alone", GET("http://b?x"), "1 / x b 1.1 0 []"),
        GOOD("empty lines first", "\r\n\r\n" GET("/"), ROOT),
        GOOD("a later minor version", "GET / HTTP/1.9\r\n" HOST "\r\n", ROOT),
        {"a HTTP/1.0 request", B("GET / HTTP/1.0\r\n" HOST "\r\n"), 200, "1 / - a 1.0 0 []", ENDS},
        {"HTTP/1.0 needs no Host", B("GET / HTTP/1.0\r\n\r\n"), 200, "1 / - - 1.0 0 []", ENDS},
        {"HTTP/2.0", B("GET / HTTP/2.0\r\n" HOST "\r\n"), 505, NULL, ENDS},
        {"HTTP/0.9", B("GET / HTTP/0.9\r\n" HOST "\r\n"), 505, NULL, ENDS},
        {"the preface of HTTP/2", B("PRI * HTTP/2.0\r\n\r\n"), 505, NULL, ENDS},
        {"an unknown method", B("BREW / HTTP/1.1\r\n" HOST "\r\n"), 501, NULL, ENDS},
        {"a method in lower case", B("get / HTTP/1.1\r\n" HOST "\r\n"), 501, NULL, ENDS},
        {"an unknown method and target", B("BREW pot HTTP/1.1\r\n" HOST "\r\n"), 501, NULL, ENDS},
        BAD("a control character in the target of an unknown method", "BREW pot\x01 HTTP/1.1\r\n" HOST "\r\n"),
        BAD("two blanks before the target", "GET  / HTTP/1.1\r\n" HOST "\r\n"),
        BAD("two blanks before the version", "GET /  HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a blank before the method", " GET / HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a blank behind the version", "GET / HTTP/1.1 \r\n" HOST "\r\n"),
        BAD("tabs", "GET\t/\tHTTP/1.1\r\n" HOST "\r\n"),
        BAD("no version", "GET /\r\n" HOST "\r\n"),
        BAD("no target", "GET HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a method alone", "GET\r\n" HOST "\r\n"),
        BAD("a word too many", "GET / x HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a version without its name", "GET / HTXP/1.1\r\n" HOST "\r\n"),
        BAD("a version of letters", "GET / HTTP/1.x\r\n" HOST "\r\n"),
        BAD("a version with a comma", "GET / HTTP/1,1\r\n" HOST "\r\n"),
        BAD("a version of two digits", "GET / HTTP/1.10\r\n" HOST "\r\n"),
        BAD("a version in lower case", "GET / http/1.1\r\n" HOST "\r\n"),
        BAD("a bare LF behind the request line", "GET / HTTP/1.1\n" HOST "\r\n"),
        BAD("bare LFs throughout", "GET / HTTP/1.1\nHost: a\n\n"),
        BAD("a bare LF for the empty line", "GET / HTTP/1.1\r\n" HOST "\n"),
        BAD("a bare LF first", "\n" GET("/")),
        BAD("two bare LFs first", "\n\n" GET("/")),
        BAD("a bare CR first", "\r" GET("/")),
        BAD("a CR too many", "GET / HTTP/1.1\r\r\n" HOST "\r\n"),
        BAD("a bare CR in the target", "GET /\rx HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a NUL in the target", "GET /\0x HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a NUL in the method", "G\0T / HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a DEL in the target", "GET /\x7f HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a byte over 127 in the target", "GET /\xe9 HTTP/1.1\r\n" HOST "\r\n"),
        BAD("a fragment", GET("/#x")),
        BAD("a broken escape", GET("/%4")),
        BAD("an escape that is none", GET("/%4g")),
        BAD("a broken escape in the query", GET("/?%")),
        BAD("no slash", GET("x")),
        BAD("an asterisk for GET", GET("*")),
        BAD("another scheme", GET("ftp://a/")),
        BAD("a user in the authority", GET("http://u@a/")),
        BAD("no authority", GET("http:///")),
        BAD("a broken scheme", GET("http:/a/")),
        BAD("CONNECT with a path", "CONNECT /x HTTP/1.1\r\n" HOST "\r\n"),
        BAD("CONNECT without a port", "CONNECT a HTTP/1.1\r\n" HOST "\r\n"),
        BAD("CONNECT with an empty port", "CONNECT a: HTTP/1.1\r\n" HOST "\r\n"),
        BAD("CONNECT to an address without a port", "CONNECT [::1] HTTP/1.1\r\n" HOST "\r\n"),
        BAD("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01"),
        BAD("a method that is no token", "G(T / HTTP/1.1\r\n" HOST "\r\n"),
    };

    (void)state;
    RUN(rows);
}

static void test_fields(void **state)
{
    static const struct row rows[] = {
        GOOD("all characters of a name", WITH("!#$%&'*+-.^_`|~0aZ: x\r\n"), ROOT),
        GOOD("an empty value", WITH("X:\r\n"), ROOT),
        GOOD("blanks around a value", WITH("X: \t a b\t \r\n"), ROOT),
        GOOD("blanks around Host", HOSTED("Host:\t a \t\r\n"), ROOT),
        GOOD("bytes over 127 in a value", WITH("X: caf\xe9\r\n"), ROOT),
        GOOD("a field twice", WITH("X: a\r\nX: b\r\n"), ROOT),
        GOOD("closed is not close", WITH("Connection: closed\r\n"), ROOT),
        {"close", B(WITH("Connection: close\r\n")), 200, ROOT, ENDS},
        {"close among others, in capitals", B(WITH("Connection: x , CLOSE\r\n")), 200, ROOT, ENDS},
        {"close in a second field", B(WITH("Connection: x\r\nConnection: close\r\n")), 200, ROOT, ENDS},
        {"close and keep-alive", B(WITH("Connection: keep-alive, close\r\n")), 200, ROOT, ENDS},
        {"keep-alive in HTTP/1.0", B("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), 200, "1 / - - 1.0 0 []", GOES},
        {"keep-alive and close in HTTP/1.0", B("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n"), 200,
         "1 / - - 1.0 0 []", ENDS},
        BAD("a blank before the colon", WITH("X : a\r\n")),
        BAD("a tab before the colon", WITH("X\t: a\r\n")),
        BAD("a blank in a name", WITH("X Y: a\r\n")),
        BAD("no colon", WITH("X\r\n")),
        BAD("no name", WITH(": a\r\n")),
        BAD("a NUL in a name", WITH("X\0: a\r\n")),
        BAD("a byte over 127 in a name", WITH("caf\xe9: a\r\n")),
        BAD("a NUL in a value", WITH("X: a\0b\r\n")),
        BAD("a bare CR in a value", WITH("X: a\rb\r\n")),
        BAD("a CR too many", WITH("X: a\r\r\n")),
        BAD("a bare LF", WITH("X: a\nY: b\r\n")),
        BAD("a control character", WITH("X: a\x01\r\n")),
        BAD("a DEL", WITH("X: a\x7f\r\n")),
        BAD("a folded line", WITH("X: a\r\n b\r\n")),
        BAD("a line folded by a tab", WITH("X: a\r\n\tb\r\n")),
        BAD("a blank line", WITH("X: a\r\n \r\n")),
        BAD("a blank before the first field", "GET / HTTP/1.1\r\n " HOST "\r\n"),
        BAD("a blank line before the first field", "GET / HTTP/1.1\r\n \r\n" HOST "\r\n"),
        BAD("a broken Connection", WITH("Connection: \x01\r\n")),
        GOOD("a port", HOSTED("Host: a:80\r\n"), "1 / - a:80 1.1 0 []"),
        GOOD("an empty port", HOSTED("Host: a:\r\n"), "1 / - a: 1.1 0 []"),
        GOOD("an IPv6 address", HOSTED("Host: [fe80::1]:80\r\n"), "1 / - [fe80::1]:80 1.1 0 []"),
        GOOD("an IPv6 address of the IPv4 kind", HOSTED("Host: [::1.2.3.4]\r\n"), "1 / - [::1.2.3.4] 1.1 0 []"),
        GOOD("an escape in Host", HOSTED("Host: a%20b\r\n"), "1 / - a%20b 1.1 0 []"),
        BAD("no Host", HOSTED("")),
        BAD("no Host, with fields", HOSTED("X: a\r\n")),
        BAD("no Host, in absolute form", "GET http://a/ HTTP/1.1\r\n\r\n"),
        BAD("Host twice", HOSTED(HOST HOST)),
        BAD("Host twice in HTTP/1.0", "GET / HTTP/1.0\r\n" HOST HOST "\r\n"),
        BAD("an empty Host", HOSTED("Host:\r\n")),
        BAD("a port alone", HOSTED("Host: :80\r\n")),
        BAD("a blank in Host", HOSTED("Host: a b\r\n")),
        BAD("a path in Host", HOSTED("Host: a/b\r\n")),
        BAD("a user in Host", HOSTED("Host: u@a\r\n")),
        BAD("two in one", HOSTED("Host: a, a:80, b\r\n")),
        BAD("a letter in the port", HOSTED("Host: a:8x\r\n")),
        BAD("two ports", HOSTED("Host: a:8:8\r\n")),
        BAD("half a bracket", HOSTED("Host: [::1\r\n")),
        BAD("nothing in brackets", HOSTED("Host: []\r\n")),
        BAD("a letter in brackets", HOSTED("Host: [::g]\r\n")),
        BAD("colons alone in brackets", HOSTED("Host: [:::]\r\n")),
        BAD("an address of IPv4 in brackets", HOSTED("Host: [127.0.0.1]\r\n")),
        BAD("more in brackets than an address can have", HOSTED("Host: [0000:0000:0000:0000:0000:0000:0000:00000000000]\r\n")),
        BAD("a list of two", HOSTED("Host: a,b\r\n")),
        BAD("a rest behind brackets", HOSTED("Host: [::1]x\r\n")),
        BAD("a bracket inside", HOSTED("Host: a[b\r\n")),
        BAD("a byte over 127 in Host", HOSTED("Host: caf\xe9\r\n")),
        BAD("a broken escape in Host", HOSTED("Host: a%2\r\n")),
    };

    (void)state;
    RUN(rows);
}

static void test_content(void **state)
{
    static const struct row rows[] = {
        GOOD("content", POST("Content-Length: 5\r\n", "a=b&c"), "4 /echo - a 1.1 5 [a=b&c]"),
        GOOD("zeros in front", POST("Content-Length: 005\r\n", "a=b&c"), "4 /echo - a 1.1 5 [a=b&c]"),
        GOOD("a length of 0 needs no type", "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", "4 /echo - a 1.1 0 []"),
        GOOD("no content needs no type", "POST /echo HTTP/1.1\r\n" HOST "\r\n", "4 /echo - a 1.1 0 []"),
        GOOD("content of GET", WITH("Content-Length: 3\r\n") "abc", "1 / - a 1.1 3 [abc]"),
        GOOD("a type with parameters", "POST /echo HTTP/1.1\r\n" HOST
             "Content-Type: Application/X-WWW-form-urlencoded ; charset=utf-8\r\nContent-Length: 1\r\n\r\nx", "4 /echo - a 1.1 1 [x]"),
        GOOD("identity", POST("Content-Encoding: identity\r\nContent-Length: 1\r\n", "x"), "4 /echo - a 1.1 1 [x]"),
        GOOD("content that looks like a request", POST("Content-Length: 29\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n"),
             "4 /echo - a 1.1 29 [GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n]"),
        {"content in HTTP/1.0", B("POST /echo HTTP/1.0\r\n" FORM "Content-Length: 1\r\n\r\nx"), 200, "4 /echo - - 1.0 1 [x]", ENDS},
        {"content closed behind", B(POST("Connection: close\r\nContent-Length: 1\r\n", "x")), 200, "4 /echo - a 1.1 1 [x]", ENDS},
        {"refused with its content unread", B("POST /refused HTTP/1.1\r\n" HOST FORM "Content-Length: 1\r\n\r\nx"), 403, NULL, ENDS},
        {"refused without content", B("POST /refused HTTP/1.1\r\n" HOST "\r\n"), 403, "Not here.\n", GOES},
        {"another type", B("POST /echo HTTP/1.1\r\n" HOST "Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx"), 415, NULL, ENDS},
        {"no type", B("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx"), 415, NULL, ENDS},
        {"a coding of content", B(POST("Content-Encoding: gzip\r\nContent-Length: 1\r\n", "x")), 415, NULL, ENDS},
        {"two types", B(POST(FORM "Content-Length: 1\r\n", "x")), 415, NULL, ENDS},
        {"a coding in a second field", B(POST("Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n", "x")),
         415, NULL, ENDS},
        {"an expectation in a second field", B(POST("Expect: 100-continue\r\nExpect: x\r\nContent-Length: 1\r\n", "x")), 417, NULL,
         ENDS},
        {"too much", B(POST("Content-Length: 16385\r\n", "x")), 413, NULL, ENDS},
        {"much too much", B(POST("Content-Length: 99999999999999999999999999\r\n", "x")), 413, NULL, ENDS},
        {"another expectation", B(POST("Expect: x\r\nContent-Length: 1\r\n", "x")), 417, NULL, ENDS},
        {"another expectation without content", B(WITH("Expect: x\r\n")), 417, NULL, GOES},
        {"HTTP/1.0 knows no expectations", B("POST /echo HTTP/1.0\r\n" FORM "Expect: x\r\nContent-Length: 1\r\n\r\nx"), 200, NULL, ENDS},
        GOOD("an expectation that is met", POST("Expect: 100-Continue\r\nContent-Length: 1\r\n", "x"), "4 /echo - a 1.1 1 [x]"),
        BAD("two lengths", POST("Content-Length: 1\r\nContent-Length: 1\r\n", "x")),
        BAD("two lengths in one", POST("Content-Length: 1, 1\r\n", "x")),
        BAD("no length", POST("Content-Length:\r\n", "x")),
        BAD("a sign", POST("Content-Length: +1\r\n", "x")),
        BAD("a negative length", POST("Content-Length: -1\r\n", "x")),
        BAD("a length in hexadecimal", POST("Content-Length: 0x1\r\n", "x")),
        BAD("a letter in the length", POST("Content-Length: 1x\r\n", "x")),
        BAD("a blank in the length", POST("Content-Length: 1 1\r\n", "x")),
        BAD("length and coding", POST("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        BAD("two codings", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        BAD("an empty coding", POST("Transfer-Encoding:\r\n", "0\r\n\r\n")),
        BAD("chunked is not the last", POST("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
        BAD("chunked twice", POST("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        BAD("another coding alone", POST("Transfer-Encoding: gzip\r\n", "0\r\n\r\n")),
        BAD("identity", POST("Transfer-Encoding: identity\r\n", "0\r\n\r\n")),
        BAD("a coding in HTTP/1.0", "POST /echo HTTP/1.0\r\n" FORM "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        BAD("a broken coding and another version", "POST /echo HTTP/2.1\r\n" HOST FORM "Transfer-Encoding: x\r\n\r\n"),
        {"another coding before chunked", B(POST("Transfer-Encoding: gzip, Chunked\r\n", "0\r\n\r\n")), 501, NULL, ENDS},
    };

    (void)state;
    RUN(rows);
}

#define CHUNKED_POST(content) POST("Transfer-Encoding: Chunked\r\n", content)
#define HELLO "4 /echo - a 1.1 5 [hello]"

static void test_chunks(void **state)
{
    static const struct row rows[] = {
        GOOD("one chunk", CHUNKED_POST("5\r\nhello\r\n0\r\n\r\n"), HELLO),
        GOOD("two chunks", CHUNKED_POST("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), HELLO),
        GOOD("no content", CHUNKED_POST("0\r\n\r\n"), "4 /echo - a 1.1 0 []"),
        GOOD("zeros", CHUNKED_POST("00000005\r\nhello\r\n00000000\r\n\r\n"), HELLO),
        GOOD("hexadecimal, either case", CHUNKED_POST("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
             "4 /echo - a 1.1 20 [01234567890123456789]"),
        GOOD("CRLF as data", CHUNKED_POST("4\r\n\r\n\r\n\r\n0\r\n\r\n"), "4 /echo - a 1.1 4 [\r\n\r\n]"),
        GOOD("extensions", CHUNKED_POST("5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n"), HELLO),
        GOOD("trailers", CHUNKED_POST("5\r\nhello\r\n0\r\nX: a\r\nY:\r\n\r\n"), HELLO),
        BAD("nine digits", CHUNKED_POST("000000005\r\nhello\r\n0\r\n\r\n")),
        BAD("no size", CHUNKED_POST("\r\nhello\r\n0\r\n\r\n")),
        GOOD("extensions in quotes", CHUNKED_POST("5;a=\"b\\\";\xe9 \";c=d;e\r\nhello\r\n0\r\n\r\n"), HELLO),
        BAD("an extension without a name", CHUNKED_POST("5;\r\nhello\r\n0\r\n\r\n")),
        BAD("an extension without a value", CHUNKED_POST("5;a=\r\nhello\r\n0\r\n\r\n")),
        BAD("an extension of two values", CHUNKED_POST("5;a=b=c\r\nhello\r\n0\r\n\r\n")),
        BAD("an extension with a blank", CHUNKED_POST("5;a b\r\nhello\r\n0\r\n\r\n")),
        BAD("quotes for a name", CHUNKED_POST("5;\"a\"\r\nhello\r\n0\r\n\r\n")),
        BAD("something behind quotes", CHUNKED_POST("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n")),
        BAD("a line's end in quotes", CHUNKED_POST("5;a=\"\r\nhello\r\n0\r\n\r\n")),
        BAD("an escaped line's end in quotes", CHUNKED_POST("5;a=\"\\\r\nhello\r\n0\r\n\r\n")),
        BAD("an extension without a size", CHUNKED_POST(";a\r\nhello\r\n0\r\n\r\n")),
        BAD("a sign", CHUNKED_POST("+5\r\nhello\r\n0\r\n\r\n")),
        BAD("0x", CHUNKED_POST("0x5\r\nhello\r\n0\r\n\r\n")),
        BAD("a blank before the size", CHUNKED_POST(" 5\r\nhello\r\n0\r\n\r\n")),
        BAD("a blank behind the size", CHUNKED_POST("5 \r\nhello\r\n0\r\n\r\n")),
        BAD("a bare LF behind the size", CHUNKED_POST("5\nhello\r\n0\r\n\r\n")),
        BAD("a bare CR behind the size", CHUNKED_POST("5\rhello\r\n0\r\n\r\n")),
        BAD("a bare LF in an extension", CHUNKED_POST("5;a\nhello\r\n0\r\n\r\n")),
        BAD("a bare CR in an extension", CHUNKED_POST("5;a\rb\r\nhello\r\n0\r\n\r\n")),
        BAD("a NUL in an extension", CHUNKED_POST("5;\0\r\nhello\r\n0\r\n\r\n")),
        BAD("data too long", CHUNKED_POST("4\r\nhello\r\n0\r\n\r\n")),
        BAD("data too short", CHUNKED_POST("6\r\nhello\r\n0\r\n\r\n")),
        BAD("a bare LF behind the data", CHUNKED_POST("5\r\nhello\n0\r\n\r\n")),
        BAD("a bare CR behind the data", CHUNKED_POST("5\r\nhello\r0\r\n\r\n")),
        BAD("a bare LF at the end", CHUNKED_POST("5\r\nhello\r\n0\r\n\n")),
        BAD("a bare CR at the end", CHUNKED_POST("5\r\nhello\r\n0\r\n\rx")),
        BAD("a trailer without a colon", CHUNKED_POST("0\r\nX\r\n\r\n")),
        BAD("a trailer without a name", CHUNKED_POST("0\r\n: a\r\n\r\n")),
        BAD("a blank before a trailer's colon", CHUNKED_POST("0\r\nX : a\r\n\r\n")),
        BAD("a folded trailer", CHUNKED_POST("0\r\nX: a\r\n b\r\n\r\n")),
        BAD("a NUL in a trailer", CHUNKED_POST("0\r\nX: \0\r\n\r\n")),
        BAD("a bare LF in a trailer", CHUNKED_POST("0\r\nX: a\n\r\n")),
        BAD("a bare CR in a trailer", CHUNKED_POST("0\r\nX: a\rb\r\n\r\n")),
        {"one byte too many", B(CHUNKED_POST("4001\r\n")), 413, NULL, ENDS},
        {"one byte too many in all", B(CHUNKED_POST("1\r\nx\r\n4000\r\n")), 413, NULL, ENDS},
        {"far too many", B(CHUNKED_POST("FFFFFFFF\r\n")), 413, NULL, ENDS},
    };

    (void)state;
    RUN(rows);
}

/* A row made of a beginning, so many bytes, and an end. */
static struct row long_row(const char *name, const char *begin, size_t fill, int byte, const char *end, int status, int goes_on)
{
    struct row row = {name, NULL, strlen(begin) + fill + strlen(end), status, NULL, goes_on};
    char *bytes = malloc(row.length + 1);

    assert_non_null(bytes);
    strcpy(bytes, begin);
    memset(bytes + strlen(begin), byte, fill);
    strcpy(bytes + strlen(begin) + fill, end);
    row.bytes = bytes;
    return row;
}

static void free_row(const struct row *row)
{
    union {
        const char *in;
        char *out;
    } bytes;

    bytes.in = row->bytes;
    free(bytes.out);
}

static struct row rows_of_fields(const char *name, const char *first, size_t count, const char *last, int status, int goes_on)
{
    static char line[8192];
    size_t i, length = (size_t)sprintf(line, "GET / HTTP/1.1\r\n%s", first);

    for (i = 0; i < count; i++) length += (size_t)sprintf(line + length, "X%zu: y\r\n", i);
    strcpy(line + length, last);
    return long_row(name, line, 0, 0, "", status, goes_on);
}

static void test_limits(void **state)
{
    struct row rows[16];
    size_t count = 0, i;
    const char *begin = "GET / HTTP/1.1\r\n" HOST "X: ", *end = "\r\n\r\n";

    (void)state;
    rows[count++] = long_row("a head of 8192 bytes", begin, HTTP_HEAD_MAX - strlen(begin) - 4, 'x', end, 200, GOES);
    rows[count++] = long_row("a head of 8193 bytes", begin, HTTP_HEAD_MAX - strlen(begin) - 3, 'x', end, 431, ENDS);
    rows[count++] = long_row("a head of 20000 bytes", begin, 20000, 'x', end, 431, ENDS);
    rows[count++] = long_row("a target of 8000 bytes", "GET /", 8000, 'x', " HTTP/1.1\r\n" HOST "\r\n", 200, GOES);
    rows[count++] = long_row("a target of 8193 bytes", "GET /", 8192, 'x', " HTTP/1.1\r\n" HOST "\r\n", 414, ENDS);
    rows[count++] = long_row("a head without an end", "HEAD / HTTP/1.1\r\n", 8192, 'x', "", 431, ENDS);
    rows[count++] = rows_of_fields("100 fields", HOST, 99, "\r\n", 200, GOES);
    rows[count++] = rows_of_fields("101 fields, Host first", HOST, 100, "\r\n", 431, ENDS);
    rows[count++] = rows_of_fields("101 fields, Host last", "", 100, HOST "\r\n", 431, ENDS);
    rows[count++] = rows_of_fields("101 fields and something wrong", HOST, 100, "X : y\r\n\r\n", 400, ENDS);
    rows[count++] = long_row("content of 16384 bytes", POST("Content-Length: 16384\r\n", ""), 16384, 'x', "", 200, GOES);
    rows[count++] = long_row("a chunk of 16384 bytes", CHUNKED_POST("4000\r\n"), 16384, 'x', "\r\n0\r\n\r\n", 200, GOES);
    rows[count++] = long_row("extensions of 4096 bytes", CHUNKED_POST("0;"), 4095, 'x', "\r\n\r\n", 200, GOES);
    rows[count++] = long_row("extensions of 4097 bytes", CHUNKED_POST("0;"), 4096, 'x', "\r\n\r\n", 400, ENDS);
    rows[count++] = long_row("trailers of 8192 bytes", CHUNKED_POST("0\r\nX:"), 8192 - 6, 'x', "\r\n\r\n", 200, GOES);
    rows[count++] = long_row("trailers of 8193 bytes", CHUNKED_POST("0\r\nX:"), 8193 - 6, 'x', "\r\n\r\n", 431, ENDS);
    run_rows(rows, count);
    for (i = 0; i < count; i++) free_row(&rows[i]);
}

static void test_refusals_know_nothing_of_others(void **state)
{
    struct caller *ann, *bob;
    struct row row = long_row("too long", "GET / HTTP/1.1\r\n" HOST "X: ", 9000, 'x', "\r\n\r\n", 431, ENDS);

    (void)state;
    open_server(32, 0);
    ann = dial("127.0.0.1");
    bob = dial("127.0.0.1");
    turn();
    say(ann, "HEAD / HTTP/1.0\r\n\r\n");
    settle();
    assert_int_equal(next_answer(ann, 1, &the_answer), 200);
    say_bytes(bob, row.bytes, row.length); /* whole, so that nothing of it is parsed */
    settle();
    assert_int_equal(status_for(bob), 431);
    assert_true(the_answer.length > 0 && the_answer.is_whole);
    assert_string_equal(field_of(&the_answer, "\r\nContent-Type: "), "text/plain; charset=utf-8");
    bob = dial("127.0.0.1");
    say(bob, "HEAD / HTTP/1.1\r\n" HOST "\r\n"); /* nor on what the same one asked */
    settle();
    assert_int_equal(next_answer(bob, 1, &the_answer), 200);
    say_bytes(bob, row.bytes, row.length);
    settle();
    assert_int_equal(status_for(bob), 431);
    assert_true(the_answer.length > 0 && the_answer.is_whole);
    assert_string_equal(field_of(&the_answer, "\r\nX-Server: "), "s");
    close_server();
    free_row(&row);
}

static void test_limits_are_those_of_one_request(void **state)
{
    struct row rows[3];
    struct caller *ann;
    size_t i;

    (void)state;
    rows[0] = long_row("digits", CHUNKED_POST("00000001\r\nx\r\n00000000"), 0, 0, "\r\n\r\n", 200, GOES);
    rows[1] = long_row("extensions", CHUNKED_POST("0;"), 4000, 'x', "\r\n\r\n", 200, GOES);
    rows[2] = long_row("trailers", CHUNKED_POST("0\r\nX:"), 8000, 'x', "\r\n\r\n", 200, GOES);
    open_server(32, 0);
    ann = dial("127.0.0.1");
    for (i = 0; i < 12; i++) say_bytes(ann, rows[i / 4].bytes, rows[i / 4].length);
    settle();
    for (i = 0; i < 12; i++) assert_int_equal(status_for(ann), 200);
    assert_string_equal(heard(ann), "");
    close_server();
    for (i = 0; i < 3; i++) free_row(&rows[i]);
}

static void test_decoder_in_any_split(void **state)
{
    /* Every cut in two and three of one content, against what it says. */
    static const char content[] = "3;x\r\nabc\r\n00010\r\n0123456789abcdef\r\n0\r\nT: v\r\n\r\n", decoded[] = "abc0123456789abcdef";
    static struct buffer in;
    size_t a, b, length = sizeof content - 1, cuts[4], i;

    (void)state;
    for (a = 0; a <= length; a++) {
        for (b = a; b <= length; b++) {
            memset(&in, 0, offsetof(struct buffer, bytes));
            cuts[0] = 0, cuts[1] = a, cuts[2] = b, cuts[3] = length;
            for (i = 0; i < 3; i++) {
                memcpy(in.bytes + in.end, content + cuts[i], cuts[i + 1] - cuts[i]);
                in.end += cuts[i + 1] - cuts[i];
                assert_int_equal(decode_chunks(&in), 0);
            }
            assert_int_equal(in.chunk_state, CHUNKS_DONE);
            assert_int_equal(in.content_end, sizeof decoded - 1);
            assert_memory_equal(in.bytes, decoded, sizeof decoded - 1);
            assert_int_equal(in.raw, in.end);
        }
    }
}

static void test_pipelines_cut_in_two(void **state)
{
    static const char *const pipelines[] = {
        GET("/x") CHUNKED_POST("5\r\nhello\r\n3;e\r\nabc\r\n0\r\nT: t\r\n\r\n") GET("/y"),
        GET("/x") POST("Content-Length: 8\r\n", "helloabc") CHUNKED_POST("1\r\nz\r\n0\r\n\r\n"),
        "\r\n" GET("/x") "\r\n" "HEAD / HTTP/1.1\r\n" HOST "\r\n" GET("/y")};
    size_t i, cut;

    (void)state;
    for (i = 0; i < 3; i++) {
        size_t length = strlen(pipelines[i]);
        char *whole, *split;
        open_server(32, 0);
        whole = hear_all(pipelines[i], length, NULL, 0);
        for (cut = 1; cut < length; cut++) {
            split = hear_all(pipelines[i], length, &cut, 1);
            assert_string_equal(split, whole);
            free(split);
        }
        free(whole);
        close_server();
    }
}

static void test_chunks_of_one_byte(void **state)
{
    static unsigned char content[HTTP_CONTENT_MAX * 6 + 5];
    struct caller *ann;
    size_t i;

    (void)state;
    for (i = 0; i < HTTP_CONTENT_MAX; i++) {
        memcpy(content + 6 * i, "1\r\nx\r\n", 6);
        content[6 * i + 3] = (unsigned char)('a' + i % 26);
    }
    memcpy(content + 6 * i, "0\r\n\r\n", 5);
    open_server(32, 0);
    ann = dial("127.0.0.1");
    say(ann, CHUNKED_POST(""));
    say_bytes(ann, content, sizeof content); /* more than any buffer holds */
    assert_int_equal(ask(ann, ""), 200);
    assert_memory_equal(the_answer.body, "4 /echo - a 1.1 16384 [abcdef", 29);
    for (i = 23; i < the_answer.length; i++) assert_int_equal(the_answer.body[i], 'a' + (i - 23) % 26);
    assert_int_equal(ask(ann, GET("/")), 200);
    close_server();
}

/* A request by chance, good ones mostly. */
static size_t random_request(uint64_t *seed, char *out)
{
    static const char *const requests[] = {
        GET("/"), GET("/a?b"), "\r\n" GET("/x"), POST("Content-Length: 7\r\n", "a=b&c=d"), CHUNKED_POST("2\r\nhe\r\n3;e\r\nllo\r\n0\r\n\r\n"),
        CHUNKED_POST("1\r\nx\r\n0\r\nT: t\r\n\r\n"), "HEAD / HTTP/1.1\r\n" HOST "\r\n", GET("/none"), GET("/pull?3.20"), GET("/same"),
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", POST("Expect: 100-continue\r\nContent-Length: 3\r\n", "a=b"),
        "POST /refused HTTP/1.1\r\n" HOST "\r\n", GET("/page"), "HEAD /pull HTTP/1.1\r\n" HOST "\r\n", WITH("Expect: x\r\n"),
        GET("/none"), GET("/echo?12345678901234567890123456789012345678901234567890"), GET("/big"), GET("/hold?0.0")};
    static const char *const last[] = {
        WITH("Connection: close\r\n"), "GET / HTTP/1.0\r\n\r\n", "BREW / HTTP/1.1\r\n" HOST "\r\n", WITH("X : a\r\n"), "GET /\n\n",
        CHUNKED_POST("2\r\nhello\r\n0\r\n\r\n"), "POST /refused HTTP/1.1\r\n" HOST FORM "Content-Length: 2\r\n\r\nxx", GET("/pull?3.20.2"),
        CHUNKED_POST("9999\r\n"), "GET /pull HTTP/1.0\r\n\r\n", GET("/stream?1"), "GET /pull?3.20.2 HTTP/1.0\r\n\r\n"};
    const char *request = random_below(seed, 12) > 0 ? requests[random_below(seed, sizeof requests / sizeof requests[0])]
                                                     : last[random_below(seed, sizeof last / sizeof last[0])];

    strcpy(out, request);
    return strlen(request);
}

/* All that is heard of PIPELINE if it comes in pieces of at most STEP bytes (0: whole) and is taken likewise. */
static char *hear_pipeline(const char *pipeline, size_t length, uint64_t *seed, size_t step)
{
    struct caller *ann;
    size_t at = 0;
    int left = 200000;
    char *all;

    open_server(32, 0);
    ann = dial("127.0.0.1");
    turn();
    if (step > 0) ann->room = 0;
    while (left-- > 0 && ann->is_open) {
        size_t part = step == 0 ? length - at : random_below(seed, step + 1);
        if (part > length - at) part = length - at;
        if (part > 0) say_bytes(ann, pipeline + at, part);
        at += part;
        if (step > 0) ann->room += random_below(seed, 40 * step);
        world.until_ms = world.now_ms;
        assert_int_equal(http_turn(world.server, -1), 0);
        if (at == length && world.asked_ms != 0 && world.found == 0 && ann->room > 0) break;
    }
    assert_true(left > 0);
    check_world();
    ann->room = ENDLESS;
    ann->has_ended = 1; /* all that is whole is answered even so */
    settle();
    drop_interim((char *)ann->heard);
    all = malloc(ann->heard_length + 1);
    assert_non_null(all);
    strcpy(all, (char *)ann->heard);
    close_server();
    return all;
}

static void test_pipelines_in_any_split(void **state)
{
    static char pipeline[40000];
    uint64_t seed = 20260101;
    int i, j;

    (void)state;
    for (i = 0; i < 60; i++) {
        size_t length = 0, count = 1 + random_below(&seed, 25);
        char *whole, *split;
        while (count-- > 0) length += random_request(&seed, pipeline + length);
        whole = hear_pipeline(pipeline, length, &seed, 0);
        assert_true(strlen(whole) > 0);
        for (j = 0; j < 3; j++) {
            split = hear_pipeline(pipeline, length, &seed, j == 0 ? 3 : j == 1 ? 60 : 2000);
            if (strcmp(whole, split) != 0) fail_msg("%s\n\nwhole: %.3000s\n\nsplit: %.3000s", pipeline, whole, split);
            free(split);
        }
        free(whole);
    }
}

/* ---- forms, escapes, cookies, numbers, lists ---- */

static int is_bytes(struct http_bytes bytes, const char *text) { return bytes.at != NULL && http_equals(bytes, text); }

static void test_forms(void **state)
{
    static const struct {
        const char *form;
        int result;
        const char *a, *b; /* values, NULL: absent */
    } rows[] = {{"a=1&b=2", 0, "1", "2"},     {"", 0, NULL, NULL},           {"a", 0, "", NULL},
                {"a=", 0, "", NULL},          {"=x", 0, NULL, NULL},         {"&&a=1&", 0, "1", NULL},
                {"a=x=y", 0, "x=y", NULL},    {"a=+%2B%20+", 0, " +  ", NULL}, {"%61=1", 0, "1", NULL},
                {"A=1", 0, NULL, NULL},       {"c=1&c=2&b=3", -1, NULL, NULL}, {"a=1&a=1", -1, NULL, NULL},
                {"a=1&%61=", -1, NULL, NULL}, {"a=%", -1, NULL, NULL},       {"a=%4", -1, NULL, NULL},
                {"a=%4x", -1, NULL, NULL},    {"c=%zz", -1, NULL, NULL},     {"c%=", -1, NULL, NULL},
                {"a=%C3%A9&b=%e9", 0, "\xc3\xa9", "\xe9"}, {"a+=1&b=;", 0, NULL, ";"}};
    char many[512];
    size_t i, length;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_pair pairs[2] = {{"a", {NULL, 9}}, {"b", {NULL, 9}}};
        unsigned char *form = guarded_end() - (length = strlen(rows[i].form));
        memcpy(form, rows[i].form, length);
        assert_int_equal(http_form(form, length, pairs, 2), rows[i].result);
        if (rows[i].result != 0) continue;
        if (rows[i].a == NULL) assert_null(pairs[0].value.at); else assert_true(is_bytes(pairs[0].value, rows[i].a));
        if (rows[i].b == NULL) assert_null(pairs[1].value.at); else assert_true(is_bytes(pairs[1].value, rows[i].b));
    }
    assert_int_equal(http_form(guarded_end() - 6, 0, NULL, 0), 0);
    for (i = length = 0; i < HTTP_PAIRS_MAX + 1; i++) {
        struct http_pair pairs[1] = {{"a0", {NULL, 0}}};
        unsigned char copy[512];
        assert_int_equal(http_form(memcpy(copy, many, length), length, pairs, 1), 0);
        length += (size_t)sprintf(many + length, "a%d&", (int)i);
        if (i == HTTP_PAIRS_MAX) assert_int_equal(http_form(memcpy(copy, many, length), length, pairs, 1), -1);
    }
}

static void test_percent_encoding(void **state)
{
    unsigned char all[256], back[256];
    char text[3 * 256 + 1];
    struct http_bytes bytes = {all, sizeof all};
    int i;

    (void)state;
    for (i = 0; i < 256; i++) all[i] = (unsigned char)i;
    assert_int_equal(http_percent_encode(bytes, text), 66 + 190 * 3);
    assert_int_equal(strlen(text), 66 + 190 * 3);
    assert_int_equal(strspn(text, "%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~"), strlen(text));
    assert_non_null(strstr(text, "%00%01"));
    assert_non_null(strstr(text, "%2F0123456789%3A"));
    assert_int_equal(http_percent_decode(guarded(text), back, sizeof back), 256);
    assert_memory_equal(all, back, 256);
    assert_int_equal(http_percent_decode(guarded(text), back, 255), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(http_percent_decode(guarded("a+b"), back, 3), 3);
    assert_memory_equal(back, "a+b", 3);
    assert_int_equal(http_percent_decode(guarded("%fF"), back, 1), 1);
    assert_int_equal(back[0], 255);
    assert_int_equal(http_percent_decode(guarded(""), back, 0), 0);
    errno = 0;
    assert_int_equal(http_percent_decode(guarded("ab%a"), back, 256), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(http_percent_decode(guarded("%"), back, 256), -1);
    assert_int_equal(http_percent_decode(guarded("%%41"), back, 256), -1);
    bytes.length = 0;
    assert_int_equal(http_percent_encode(bytes, text), 0);
    assert_string_equal(text, "");
}

static void test_cookies(void **state)
{
    static struct http_request request;
    static const char *const fields[] = {"a=1; b=2;a=3", "a", "x; a = \"4\" ;; =5; a=", "aa=6; A=7"};
    static const char *const values[] = {"1", "3", "\"4\"", ""};
    struct http_place place = {0, {NULL, 0}}, start = place;
    size_t i;

    (void)state;
    for (i = 0; i < 4; i++) {
        request.fields[i].name.at = (const unsigned char *)(i % 2 ? "cookie" : "Cookie");
        request.fields[i].name.length = 6;
        request.fields[i].value.at = (const unsigned char *)fields[i];
        request.fields[i].value.length = strlen(fields[i]);
    }
    request.field_count = 4;
    for (i = 0; i < 4; i++) assert_true(is_bytes(http_cookie(&request, "a", &place), values[i]));
    assert_null(http_cookie(&request, "a", &place).at);
    place = start;
    assert_true(is_bytes(http_cookie(&request, "b", &place), "2"));
    assert_null(http_cookie(&request, "b", &place).at);
    place = start;
    assert_null(http_cookie(&request, "c", &place).at);
    place = start;
    request.field_count = 0;
    assert_null(http_cookie(&request, "a", &place).at);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        uint64_t most, number;
        int result;
    } rows[] = {{"0", 0, 0, 0},
                {"1", 0, 0, -1},
                {"007", 7, 7, 0},
                {"8", 7, 0, -1},
                {"10", 9, 0, -1},
                {"18446744073709551615", UINT64_MAX, UINT64_MAX, 0},
                {"18446744073709551616", UINT64_MAX, 0, -1},
                {"99999999999999999999", UINT64_MAX, 0, -1},
                {"", 9, 0, -1},
                {"-1", 9, 0, -1},
                {"+1", 9, 0, -1},
                {" 1", 9, 0, -1},
                {"1 ", 9, 0, -1},
                {"1x", 9, 0, -1}};
    uint64_t number;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(http_number(guarded(rows[i].text), rows[i].most, &number), rows[i].result);
        if (rows[i].result == 0) assert_true(number == rows[i].number);
    }
}

static void test_elements(void **state)
{
    static const struct {
        const char *value, *element;
        int has;
    } rows[] = {{"close", "close", 1},       {"a, CLOSE", "close", 1},           {"a,close ,b", "close", 1},
                {"closed", "close", 0},      {"a close", "close", 0},            {"", "close", 0},
                {",,close", "close", 1},     {"text/html;q=0.9", "text/html", 1}, {"text/html ; q=1, x", "x", 1},
                {"clos", "close", 0}};
    struct http_bytes absent = {NULL, 0};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(http_has_element(guarded(rows[i].value), rows[i].element), rows[i].has);
    }
    assert_false(http_has_element(absent, "x"));
    assert_true(http_equals(guarded("aB"), "aB"));
    assert_false(http_equals(guarded("aB"), "ab"));
    assert_false(http_equals(guarded("a"), "ab"));
    assert_true(http_equals_folded(guarded("aB"), "ab"));
    assert_false(http_equals_folded(guarded("aBc"), "ab"));
    assert_false(http_equals_folded(guarded("a"), "ab"));
}

static void hex_digest(const void *bytes, size_t length, char text[65])
{
    unsigned char digest[HTTP_DIGEST_SIZE];
    int i;

    http_sha256(bytes, length, digest);
    for (i = 0; i < HTTP_DIGEST_SIZE; i++) sprintf(text + 2 * i, "%02x", digest[i]);
}

static void test_digits(void **state)
{
    static const uint64_t rows[] = {0, 9, 10, 99, 1700000000123, UINT64_MAX / 10, UINT64_MAX};
    char digits[HTTP_DIGITS_MAX + 1], text[32];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(digits, '!', sizeof digits);
        snprintf(text, sizeof text, "%llu", (unsigned long long)rows[i]);
        assert_int_equal(http_digits(rows[i], digits), strlen(text));
        assert_memory_equal(digits, text, strlen(text));
        assert_int_equal(digits[strlen(text)], '!');
    }
}

static void test_bytes_of_a_value(void **state)
{
    unsigned char bytes[24];
    struct http_bytes value = {bytes, 0};
    unsigned byte, other;
    size_t at;

    (void)state;
    for (other = 0; other < 256; other++) { /* every byte beside every other, at every place in a word of eight */
        for (byte = 0; byte < 256 && is_value_byte((unsigned char)other); byte++) {
            memset(bytes, (int)other, sizeof bytes);
            at = (byte + other) % 16;
            bytes[at] = (unsigned char)byte;
            for (value.length = at + 1; value.length < sizeof bytes; value.length += 7) {
                assert_int_equal(is_value(value), byte == '\t' || (byte >= 0x20 && byte != 0x7F));
            }
        }
    }
    for (value.length = 0; value.length < sizeof bytes; value.length++) {
        memset(bytes, 'v', sizeof bytes);
        bytes[value.length] = '\n'; /* behind it */
        assert_true(is_value(value));
    }
}

static void test_sha256(void **state)
{
    static unsigned char million[1000000], digests[131 * HTTP_DIGEST_SIZE], counted[131];
    static const char *const long_one = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    char text[65];
    size_t i;

    (void)state;
    hex_digest(guarded("").at, 0, text);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hex_digest(guarded("abc").at, 3, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hex_digest(guarded(long_one).at, 56, text);
    assert_string_equal(text, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', sizeof million);
    hex_digest(million, sizeof million, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    for (i = 0; i < 131; i++) {
        counted[i] = (unsigned char)(i * 7);
        http_sha256(guarded_bytes(counted, i).at, i, digests + i * HTTP_DIGEST_SIZE);
    }
    hex_digest(digests, sizeof digests, text); /* of all of them: by Python's hashlib */
    assert_string_equal(text, "181f875e1cd08d0506e432f8bd3a3523f5d0d033b838f6578d7913a15552d895");
}

static void test_base64(void **state)
{
    unsigned char digest[HTTP_DIGEST_SIZE];
    char text[HTTP_BASE64_SIZE];
    int i;

    (void)state;
    http_sha256("abc", 3, digest);
    http_base64(digest, text);
    assert_string_equal(text, "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    for (i = 0; i < HTTP_DIGEST_SIZE; i++) digest[i] = (unsigned char)(i + 1);
    http_base64(digest, text);
    assert_string_equal(text, "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=");
    memset(digest, 255, sizeof digest);
    http_base64(digest, text);
    assert_string_equal(text, "//////////////////////////////////////////8=");
}

static void test_dates(void **state)
{
    static const struct {
        int64_t second;
        const char *text;
    } rows[] = {{0, "Thu, 01 Jan 1970 00:00:00 GMT"},           {-5, "Thu, 01 Jan 1970 00:00:00 GMT"},
                {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},   {951782399, "Mon, 28 Feb 2000 23:59:59 GMT"},
                {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},   {951868800, "Wed, 01 Mar 2000 00:00:00 GMT"},
                {1709164800, "Thu, 29 Feb 2024 00:00:00 GMT"},  {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT"},
                {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT"},  {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
                {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"}};
    static struct http_server server;
    int64_t day;
    char text[64];
    size_t i;

    (void)state;
    server.date_s = -1;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        server.now.wall_ms = rows[i].second * 1000 + 999 * (rows[i].second > 0);
        assert_string_equal(date_text(&server), rows[i].text);
    }
    for (day = 0; day < 150 * 366; day++) {
        time_t second = (time_t)(day * 86400 + day % 86400);
        if (second != day * 86400 + day % 86400) break; /* 32 bits end in 2038 */
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&second));
        server.now.wall_ms = (int64_t)second * 1000;
        assert_string_equal(date_text(&server), text);
    }
}

/* ---- connections, one after another ---- */

static void test_pipelining(void **state)
{
    static const size_t mouthfuls[] = {0, 1, 7, 1000};
    struct caller *ann;
    size_t i, j;
    char text[64];

    (void)state;
    open_server(32, 0);
    for (i = 0; i < 4; i++) {
        ann = dial("192.0.2.1");
        ann->mouthful = mouthfuls[i];
        for (j = 0; j < 1000; j++) {
            sprintf(text, "GET /%zu HTTP/1.1\r\n" HOST "\r\n", j);
            say(ann, text);
        }
        settle();
        for (j = 0; j < 1000; j++) {
            assert_int_equal(status_for(ann), 200);
            sprintf(text, "1 /%zu - a 1.1 0 []", j);
            assert_true(body_is(text));
        }
        assert_string_equal(heard(ann), "");
    }
    close_server();
}

static void test_an_answer_in_full(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    say(ann, GET("/x"));
    settle();
    assert_string_equal(heard(ann), "HTTP/1.1 200 OK\r\n" DATE "X-Server: s\r\nContent-Type: text/plain\r\n"
                                    "Content-Length: 17\r\n\r\n1 /x - a 1.1 0 []");
    close_server();
}

static void test_keep_alive(void **state)
{
    static const struct {
        const char *request, *connection; /* the field of the answer */
        int stays;
    } rows[] = {{GET("/"), NULL, 1},
                {WITH("Connection: keep-alive\r\n"), NULL, 1},
                {WITH("Connection: close\r\n"), "close", 0},
                {"GET / HTTP/1.0\r\n\r\n", "close", 0},
                {"GET / HTTP/1.0\r\nConnection: close\r\n\r\n", "close", 0},
                {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "keep-alive", 1},
                {"GET /pull HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "close", 0},
                {GET("/pull"), NULL, 1},
                {"BAD\r\n\r\n", "close", 0}};
    size_t i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct caller *ann = dial("192.0.2.1");
        const char *connection;
        assert_true(ask(ann, rows[i].request) > 0);
        connection = field_of(&the_answer, "\r\nConnection: ");
        if (rows[i].connection == NULL) assert_null(connection);
        else assert_string_equal(connection, rows[i].connection);
        assert_int_equal(ann->is_shut, !rows[i].stays);
        if (rows[i].stays) assert_int_equal(ask(ann, GET("/")), 200);
        else assert_int_equal(ask(ann, GET("/")), 0);
    }
    close_server();
}

static void test_head(void **state)
{
    static const char *const targets[] = {"/", "/page", "/pull", "/stream", "/none", "/same"};
    char request[100];
    size_t i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        struct caller *ann = dial("192.0.2.1");
        sprintf(request, "HEAD %s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
        say(ann, request);
        settle();
        assert_true(next_answer(ann, 1, &the_answer) >= 200);
        assert_string_equal(heard(ann), ""); /* no body */
        if (i == 1) assert_string_equal(field_of(&the_answer, "\r\nContent-Length: "), "100000");
        if (i == 2) assert_true(the_answer.is_chunked);
        if (i == 3) assert_string_equal(field_of(&the_answer, "\r\nContent-Type: "), "text/event-stream");
        if (i >= 4) assert_null(field_of(&the_answer, "\r\nContent-Length: "));
    }
    assert_int_equal(app.gone, 0);
    close_server();
}

static void test_continue(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    say(ann, GET("/first") POST("Expect: 100-continue\r\nContent-Length: 3\r\n", ""));
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_string_equal(heard(ann), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(ask(ann, "abc"), 200);
    assert_true(body_is("4 /echo - a 1.1 3 [abc]"));
    assert_int_equal(ask(ann, POST("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc")), 200); /* it did not wait */
    assert_int_equal(ask(ann, POST("Expect: 100-continue\r\nContent-Length: 0\r\n", "")), 200);
    assert_int_equal(ask(ann, POST("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "")), 100);
    assert_int_equal(ask(ann, "0\r\n\r\n"), 200);
    say(ann, "POST /refused HTTP/1.1\r\n" HOST FORM "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_int_equal(ask(ann, ""), 403); /* it need not send the content to hear that */
    assert_true(the_answer.closes);
    ann = dial("192.0.2.1"); /* no room for the interim answer: it comes later, and then the content */
    turn();
    ann->room = 5;
    say(ann, POST("Expect: 100-continue\r\nContent-Length: 3\r\n", ""));
    settle();
    ann->room = ENDLESS;
    assert_int_equal(ask(ann, ""), 100);
    assert_int_equal(ask(ann, "abc"), 200);
    close_server();
}

static void test_check_may_change_its_mind(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "POST /fickle HTTP/1.1\r\n" HOST FORM "Content-Length: 3\r\n\r\na"), 0);
    assert_int_equal(ask(ann, "bc"), 403);
    assert_true(the_answer.closes);
    assert_string_equal(heard(ann), ""); /* one answer */
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "POST /fickle HTTP/1.1\r\n" HOST FORM "Transfer-Encoding: chunked\r\n\r\n1"), 0);
    assert_int_equal(ask(ann, "x"), 403);
    assert_string_equal(heard(ann), "");
    close_server();
}

static void test_closing_lingers(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "POST /refused HTTP/1.1\r\n" HOST FORM "Content-Length: 99999\r\n\r\nxxx"), 403);
    assert_true(ann->is_shut && ann->is_open);
    assert_int_equal(world.server->open, 0); /* it does not count any more */
    say(ann, "what it still sends is read, so that no reset overtakes the answer");
    turn();
    assert_true(ann->is_open && ann->said_at == ann->said_length);
    later(LINGER_MS - 1);
    assert_true(ann->is_open);
    later(1);
    assert_false(ann->is_open);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, WITH("Connection: close\r\n")), 200);
    ann->has_ended = 1;
    turn();
    assert_false(ann->is_open);
    ann = dial("192.0.2.1"); /* gone while it lingers */
    assert_int_equal(ask(ann, WITH("Connection: close\r\n")), 200);
    ann->is_gone = 1;
    turn();
    assert_false(ann->is_open);
    ann = dial("192.0.2.1"); /* gone before it could be told anything */
    turn();
    say(ann, GET("/"));
    ann->is_gone = 1;
    turn();
    assert_false(ann->is_open);
    close_server();
}

static void test_half_closed_is_answered(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    say(ann, GET("/1") GET("/page") GET("/3") "GET /4 HTT");
    ann->has_ended = 1;
    ann->mouthful = 3000;
    bob = dial("192.0.2.1");
    bob->room = 100; /* takes the rest later */
    say(bob, GET("/1") GET("/2"));
    bob->has_ended = 1;
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(ann), 200);
    assert_true(the_answer.length == sizeof app.page && memcmp(the_answer.body, app.page, sizeof app.page) == 0);
    assert_int_equal(status_for(ann), 200);
    assert_string_equal(heard(ann), "");
    assert_false(ann->is_open);
    bob->room = ENDLESS;
    settle();
    assert_int_equal(status_for(bob), 200);
    assert_int_equal(status_for(bob), 200);
    assert_false(bob->is_open);
    close_server();
}

static void test_interrupts_change_nothing(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    ann->interrupts = 3;
    assert_int_equal(ask(ann, GET("/")), 200);
    ann->interrupts = 2;
    world.poll_errors = 3;
    world.poll_errno = EINTR;
    assert_int_equal(ask(ann, GET("/page")), 200);
    assert_int_equal(the_answer.length, sizeof app.page);
    ann->interrupts = 1;
    assert_int_equal(ask(ann, GET("/stream?0")), 200);
    ann->interrupts = 1;
    tell(0, "news");
    settle();
    assert_string_equal(heard(ann), "news");
    later(2 * SECOND);
    ann->interrupts = 1; /* the sweep's recv() and poll() too */
    say(ann, "x");
    world.poll_errors = 1;
    later(4 * SECOND);
    assert_true(ann->is_open && ann->interrupts == 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, WITH("Connection: close\r\n")), 200);
    ann->interrupts = 1;
    say(ann, "x");
    settle();
    assert_true(ann->is_open);
    world.poll_errors = 1;
    world.poll_errno = EBADF;
    assert_int_equal(http_turn(world.server, -1), -1); /* that will not heal */
    assert_int_equal(errno, EBADF);
    close_server();
}

/* ---- buffers ---- */

static void test_empty_lines_do_not_keep(void **state)
{
    struct caller *ann;
    int i;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/")), 200);
    for (i = 0; i < 9; i++) {
        assert_int_equal(ask(ann, "\r\n"), 0);
        later(1000);
    }
    assert_int_equal(ask(ann, "\r\n"), 0);
    later(1001);
    assert_int_equal(status_for(ann), 408);
    close_server();
}

static void test_idle_holds_no_buffer(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(world.server->buffer_count, 4);
    assert_int_equal(ask(ann, GET("/")), 200);
    assert_int_equal(world.server->free_buffer_count, 4);
    assert_int_equal(ask(ann, "GET"), 0);
    assert_int_equal(world.server->free_buffer_count, 3);
    assert_int_equal(ask(ann, " / HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_int_equal(world.server->free_buffer_count, 4);
    assert_int_equal(ask(ann, GET("/stream?0.100")), 200);
    assert_int_equal(world.server->free_buffer_count, 4);
    close_server();
}

static void test_oldest_incomplete_gives_way(void **state)
{
    struct caller *callers[4];
    char address[32];
    int i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < 4; i++) {
        sprintf(address, "192.0.2.%d", i + 1);
        callers[i] = dial(address);
        turn();
        say(callers[i], i == 0 ? "GET" : i == 1 ? POST("Content-Length: 2\r\n", "a") : "POST");
        later(1);
    }
    /* two of the four buffers are for the one at work */
    assert_int_equal(status_for(callers[0]), 408);
    assert_true(the_answer.closes);
    assert_int_equal(status_for(callers[1]), 408);
    assert_int_equal(status_for(callers[2]), 0);
    assert_int_equal(ask(callers[2], " / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), 200);
    assert_int_equal(ask(callers[3], " / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"), 200);
    close_server();
}

static void test_oldest_incomplete_without_room_is_closed(void **state)
{
    struct caller *callers[3];
    int i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < 3; i++) {
        callers[i] = dial("127.0.0.1");
        turn();
        callers[i]->room = 10;
        say(callers[i], "GET");
        later(1);
    }
    assert_false(callers[0]->is_open);
    assert_true(callers[1]->is_open && callers[2]->is_open);
    close_server();
}

static void test_address_beyond_a_quarter(void **state)
{
    struct caller *ann[4], *bob, *local[4];
    int i;

    (void)state;
    open_server(160, 0); /* 12 buffers: 3 for an address */
    assert_int_equal(world.server->buffer_count, 12);
    bob = dial("192.0.2.2");
    assert_int_equal(ask(bob, "GET"), 0);
    later(1);
    for (i = 0; i < 4; i++) {
        local[i] = dial(i % 2 ? "::1" : "127.1.2.3");
        assert_int_equal(ask(local[i], "GET"), 0);
    }
    for (i = 0; i < 4; i++) {
        ann[i] = dial("192.0.2.1");
        assert_int_equal(ask(ann[i], "GET"), 0);
        later(1);
    }
    assert_int_equal(status_for(ann[0]), 408);
    for (i = 1; i < 4; i++) assert_int_equal(ask(ann[i], " / HTTP/1.1\r\n" HOST "\r\n"), 200);
    for (i = 0; i < 4; i++) assert_int_equal(ask(local[i], " / HTTP/1.1\r\n" HOST "\r\n"), 200);
    assert_int_equal(ask(bob, " / HTTP/1.1\r\n" HOST "\r\n"), 200);
    close_server();
}

static void test_stalled_give_way_too(void **state)
{
    struct caller *ann, *bob, *eve;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    eve = dial("192.0.2.3");
    turn();
    ann->room = bob->room = 10;
    say(ann, GET("/big"));
    turn();
    turn();
    later(1);
    say(bob, GET("/stream?0.400"));
    turn();
    turn();
    assert_int_equal(world.server->free_buffer_count, 2);
    assert_true(ann->is_open && bob->is_open);
    eve->room = 10;
    say(eve, GET("/big"));
    turn();
    turn();
    assert_false(ann->is_open); /* the oldest */
    assert_true(bob->is_open && eve->is_open);
    close_server();
}

static void test_notes_never_overflow(void **state)
{
    struct caller *ann;
    size_t note;

    (void)state;
    open_server(32, 0);
    for (note = 1; note <= HTTP_SPAN_MAX; note += HTTP_SPAN_MAX - 1) {
        char request[8400] = "";
        int i;
        for (i = 0; i < 60; i++) strcat(request, GET("/a-path-of-some-length-so-that-answers-are-longer"));
        ann = dial("192.0.2.1");
        turn();
        ann->room = 0;
        say(ann, request);
        sprintf(request, GET("/stream?0.%zu"), note);
        say(ann, request);
        turns(3);
        tell(0, "news\n");
        turns(3);
        ann->room = 300;
        turns(3);
        ann->room = ENDLESS;
        settle();
        for (i = 0; i < 60; i++) assert_int_equal(status_for(ann), 200);
        assert_int_equal(status_for(ann), 200);
        assert_int_equal(the_answer.length, note + app.news_length[0]);
        assert_memory_equal(the_answer.body + note, app.news[0], app.news_length[0]);
        assert_true(the_answer.body[note - 1] == 'N');
    }
    close_server();
}

static void test_a_note_behind_a_long_wait(void **state)
{
    static const size_t rooms[] = {20, 5000, 12000, 16000};
    struct caller *ann;
    struct cursor *cursor;
    size_t i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        ann = dial("192.0.2.1");
        turn();
        ann->room = rooms[i];
        say(ann, GET("/stream?0.16384")); /* the note waits, or a part of it */
        turns(3);
        cursor = http_cursor(world.server->busy.owners[world.server->busy.count - 1]);
        assert_int_equal(cursor->note, 0);
        cursor->note = HTTP_SPAN_MAX; /* and another */
        ann->room = 100;
        turns(3);
        ann->room = ENDLESS;
        settle();
        assert_int_equal(status_for(ann), 200);
        assert_int_equal(the_answer.length, 2 * HTTP_SPAN_MAX);
    }
    close_server();
}

/* ---- partial sends ---- */

/* All that is heard of the answer to REQUEST if the peer takes FIRST bytes, then STEP at a time (0: all). */
static char *hear_slowly(const char *request, size_t first, size_t step)
{
    struct caller *ann = dial("127.0.0.1");
    int left = 100000;
    char *all, *date;

    turn();
    ann->room = first;
    say(ann, request);
    turns(2);
    do {
        ann->room = step > 0 ? step : ENDLESS;
        turn();
    } while (left-- > 0 && world.found > 0 && ann->room != step);
    assert_true(left > 0);
    all = malloc(ann->heard_length + 1);
    assert_non_null(all);
    memcpy(all, ann->heard, ann->heard_length + 1);
    ann->room = ENDLESS;
    ann->has_ended = 1;
    later(4 * SECOND);
    assert_false(ann->is_open);
    while ((date = strstr(all, "\r\nDate: ")) != NULL) memset(date + 2, 'd', 35); /* time has passed between two */
    return all;
}

static void test_partial_sends(void **state)
{
    static const struct {
        const char *request;
        size_t step; /* between two first rooms */
    } rows[] = {{GET("/x"), 1},
                {GET("/pull?5.30"), 1},
                {"GET /pull?5.30 HTTP/1.0\r\n\r\n", 1},
                {GET("/x") GET("/pull?3.300") GET("/none") GET("/pull?2.10") GET("/y"), 7},
                {GET("/stream?0.100"), 1},
                {GET("/x") GET("/stream?0.100"), 3},
                {GET("/page") GET("/x"), 9973},
                {GET("/pull?2.20000") GET("/x"), 4801},
                {GET("/big") GET("/big") GET("/big"), 997},
                {GET("/pull?0"), 1}};
    size_t i, first;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *whole, *slow;
        open_server(32, 0);
        tell(0, "id: 1\ndata: one\n\nid: 2\ndata: two\n\n");
        whole = hear_slowly(rows[i].request, ENDLESS, 0);
        for (first = 0; first < strlen(whole); first += rows[i].step) {
            slow = hear_slowly(rows[i].request, first, 0);
            assert_string_equal(slow, whole);
            free(slow);
            if (world.count > CALLERS - 10) break;
        }
        slow = hear_slowly(rows[i].request, 0, rows[i].step);
        assert_string_equal(slow, whole);
        free(slow);
        free(whole);
        close_server();
    }
}

static void test_lasting_body_is_sent_from_where_it_lies(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    turn();
    ann->room = 5000;
    say(ann, GET("/page") GET("/after"));
    turns(2);
    assert_int_equal(world.server->free_buffer_count, 3); /* the other request alone */
    ann->room = 3000;
    turns(2);
    assert_int_equal(ann->heard_length, 8000);
    ann->room = ENDLESS;
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(the_answer.length, sizeof app.page);
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(world.server->free_buffer_count, 4);
    close_server();
}

static void test_pulled_answers(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/pull?3.5")), 200);
    assert_true(the_answer.is_chunked && the_answer.is_whole && body_is("aaaaabbbbbccccc"));
    assert_string_equal(field_of(&the_answer, "\r\nContent-Type: "), "application/json");
    assert_int_equal(ask(ann, GET("/pull?0")), 200);
    assert_true(the_answer.is_whole && body_is(""));
    assert_int_equal(ask(ann, GET("/pull?3.5.2")), 200); /* it breaks off: there is no last chunk */
    assert_true(!the_answer.is_whole && body_is("aaaaabbbbb"));
    assert_string_equal(heard(ann), "");
    assert_true(ann->is_shut && !ann->is_reset);
    assert_int_equal(app.gone, 1);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "GET /pull?3.5 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200);
    assert_true(!the_answer.is_chunked && the_answer.closes && body_is("aaaaabbbbbccccc"));
    assert_true(ann->is_shut && !ann->is_reset);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "GET /pull?3.5.2 HTTP/1.0\r\n\r\n"), 200);
    assert_true(body_is("aaaaabbbbb"));
    assert_true(ann->is_reset && !ann->is_open); /* only so can it know */
    assert_int_equal(app.gone, 2);
    ann = dial("192.0.2.1"); /* gone while it is pulled */
    turn();
    ann->room = 300;
    say(ann, GET("/pull?3.5000"));
    turns(2);
    ann->is_gone = 1;
    settle();
    assert_int_equal(app.gone, 3);
    assert_false(ann->is_open);
    close_server();
}

static void test_long_units_give_others_a_turn(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    turn();
    say(ann, GET("/pull?3.2500000"));
    turn();
    assert_true(ann->heard_length < 3000000);
    say(bob, GET("/"));
    turn();
    assert_int_equal(status_for(bob), 200); /* before all of it was sent */
    assert_true(ann->heard_length < 6000000);
    settle();
    assert_true(ann->heard_length > 7500000 && has_heard(ann, "\r\n\r\n"));
    assert_memory_equal(ann->heard + ann->heard_length - 7, "\r\n0\r\n\r\n", 7);
    close_server();
}

static void test_many_requests_give_others_a_turn(void **state)
{
    struct caller *ann, *bob;
    int i, first = 0;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    turn();
    for (i = 0; i < 100; i++) say(ann, GET("/"));
    turn();
    while (first < 100 && ann->heard_at < ann->heard_length) first += status_for(ann) == 200;
    assert_in_range(first, 1, 2 * ANSWER_SLICE);
    say(bob, GET("/"));
    turn();
    assert_int_equal(status_for(bob), 200);
    assert_int_equal(ask(dial("192.0.2.3"), GET("/")), 200);
    turns(100);
    for (i = first; i < 100; i++) assert_int_equal(status_for(ann), 200);
    assert_int_equal(ask(ann, GET("/")), 200); /* as before */
    close_server();
}

/* ---- streams ---- */

static void test_streams(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(32, 0);
    tell(0, "old\n");
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    say(ann, GET("/stream?0.3"));
    say(bob, GET("/stream?1"));
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_string_equal(field_of(&the_answer, "\r\nX-Stream: "), "yes");
    assert_true(body_is("NNNold\n") && the_answer.closes);
    assert_int_equal(status_for(bob), 200);
    assert_true(ann->sndbuf > 0 && ann->sndbuf <= 32768);
#ifdef TCP_USER_TIMEOUT
    assert_true(ann->user_timeout_ms > 0 && ann->user_timeout_ms <= 60000);
#endif
    assert_int_equal(world.server->busy.count, world.server->fixed); /* both are quiet: no turn looks at them */
    tell(0, "new\n");
    tell(0, "newer\n");
    settle();
    assert_string_equal(heard(ann), "new\nnewer\n");
    assert_string_equal(heard(bob), "");
    ann->room = 2;
    tell(0, "abcd");
    turn();
    assert_int_equal(world.server->busy.count, world.server->fixed + 1);
    assert_string_equal(heard(ann), "ab");
    tell(0, "efgh");
    turns(3);
    assert_string_equal(heard(ann), "");
    ann->room = ENDLESS;
    settle();
    assert_string_equal(heard(ann), "cdefgh");
    assert_int_equal(world.server->busy.count, world.server->fixed);
    say(ann, "what a reader says is not listened to");
    later(4 * SECOND);
    assert_true(ann->is_open && ann->said_at == ann->said_length);
    ann->has_ended = 1;
    bob->is_gone = 1;
    later(4 * SECOND);
    assert_false(ann->is_open);
    assert_false(bob->is_open);
    assert_int_equal(app.gone, 2);
    close_server();
}

static void test_stream_ends(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    say(ann, GET("/stream?0"));
    say(bob, GET("/stream?0"));
    settle();
    assert_int_equal(status_for(ann), 200);
    bob->room = 3;
    tell(0, "abcdef");
    settle();
    assert_string_equal(heard(ann), "abcdef");
    app.has_ended[0] = 1;
    tell(0, "unseen");
    settle();
    assert_true(ann->is_shut && bob->is_shut); /* who has no room hears of it as well */
    assert_string_equal(heard(ann), "");
    assert_int_equal(app.gone, 2);
    close_server();
}

static void test_beat(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/stream?0")), 200);
    later(BEAT_MS - 1);
    assert_string_equal(heard(ann), "");
    later(SWEEP_PARTS * SWEEP_MS + 1);
    assert_string_equal(heard(ann), ":\n\n");
    later(10 * SECOND);
    tell(0, "x");
    settle();
    assert_string_equal(heard(ann), "x");
    later(BEAT_MS - 1); /* of silence: the news began it anew */
    assert_string_equal(heard(ann), "");
    later(SWEEP_PARTS * SWEEP_MS + 1);
    assert_string_equal(heard(ann), ":\n\n");
    ann->is_gone = 1;
    later(SWEEP_PARTS * SWEEP_MS + 1);
    assert_false(ann->is_open);
    close_server();
}

static void test_beats_are_dealt_out(void **state)
{
    struct caller *callers[30];
    int i, beats = 0, most = 0;

    (void)state;
    open_server(64, 0);
    for (i = 0; i < 30; i++) {
        callers[i] = dial("192.0.2.1");
        say(callers[i], GET("/stream?0"));
    }
    settle();
    for (i = 0; i < 30; i++) assert_int_equal(status_for(callers[i]), 200);
    later(BEAT_MS - 1);
    while (beats < 30) {
        int now = 0;
        later(SWEEP_MS);
        for (i = 0; i < 30; i++) now += strcmp(heard(callers[i]), ":\n\n") == 0;
        if (now > most) most = now;
        beats += now;
        assert_true(world.now_ms < 1000000 + 2 * BEAT_MS);
    }
    assert_int_equal(most, 10); /* a third each second */
    close_server();
}

static void test_stalled_stream_is_closed(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    say(ann, GET("/stream?0"));
    say(bob, GET("/stream?0"));
    settle();
    later(15 * SECOND); /* nothing to take is not the same as taking nothing */
    ann->room = bob->room = 0;
    tell(0, "abc");
    settle();
    later(STALL_MS - 1);
    assert_true(ann->is_open && bob->is_open);
    bob->room = 1;
    turn();
    later(1);
    assert_false(ann->is_open);
    assert_true(bob->is_open); /* it took something */
    assert_int_equal(app.gone, 1);
    later(STALL_MS - 2);
    assert_true(bob->is_open);
    later(1);
    assert_false(bob->is_open);
    close_server();
}

static void test_fan_out_in_slices(void **state)
{
    enum { READERS = 600 };
    struct caller *bob;
    int i, served, before = 0, times;

    (void)state;
    open_server(READERS + 10, 0);
    for (i = 0; i < READERS; i++) say(dial("192.0.2.1"), GET("/stream?0"));
    bob = dial("192.0.2.2");
    settle();
    for (i = 0; i < READERS; i++) assert_int_equal(status_for(&world.callers[i]), 200);
    tell(0, "x");
    say(bob, GET("/"));
    for (times = 0; before < READERS; times++) {
        turn();
        if (times > 0) assert_int_equal(world.asked_ms, 0); /* who is due does not wait for anything else */
        for (i = 0, served = 0; i < READERS; i++) served += world.callers[i].heard_length > world.callers[i].heard_at;
        assert_true(served - before <= FAN_OUT_SLICE);
        before = served;
        if (times == 0) {
            assert_int_equal(served, FAN_OUT_SLICE);
            assert_int_equal(status_for(bob), 200); /* not behind all the others */
            tell(0, "y"); /* and news while it goes on */
        }
    }
    settle();
    assert_int_equal(times, 3);
    for (i = 0; i < READERS; i++) assert_string_equal(heard(&world.callers[i]), "xy");
    assert_int_equal(world.server->busy.count, world.server->fixed + 1);
    close_server();
}

static void test_channels_take_turns(void **state)
{
    int i, served = 0;

    (void)state;
    open_server(400, 0);
    for (i = 0; i < 300; i++) say(dial("192.0.2.1"), GET("/stream?0"));
    for (i = 0; i < 10; i++) say(dial("192.0.2.1"), GET("/stream?1"));
    settle();
    for (i = 0; i < 310; i++) assert_int_equal(status_for(&world.callers[i]), 200);
    tell(0, "x");
    tell(1, "y");
    turn();
    for (i = 300; i < 310; i++) served += has_heard(&world.callers[i], "y");
    assert_int_equal(served, 0);
    tell(0, "x"); /* the long channel has more at once */
    turn();
    for (i = 300; i < 310; i++) served += has_heard(&world.callers[i], "y");
    assert_int_equal(served, 10);
    settle();
    for (i = 0; i < 300; i++) assert_string_equal(heard(&world.callers[i]), "xx");
    close_server();
}

static void test_wake_during_service(void **state)
{
    struct caller *ann, *bob, *eve;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    eve = dial("192.0.2.3");
    say(ann, GET("/stream?0"));
    say(bob, GET("/stream?0"));
    say(eve, GET("/hold?0.5000"));
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(bob), 200);
    app.wakes_when_taken = 5;
    tell(0, "abc");
    settle();
    assert_string_equal(heard(ann), "abc");
    assert_string_equal(heard(bob), "abc");
    assert_int_equal(status_for(eve), 200);
    assert_true(body_is("woken"));
    assert_int_equal(ask(eve, GET("/wake?0")), 204); /* a wake with no news */
    assert_string_equal(heard(ann), "");
    close_server();
}

/* ---- held requests ---- */

static void test_held_requests(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/hold?0.5000")), 0);
    assert_int_equal(world.server->busy.count, world.server->fixed); /* no turn looks at it */
    app.holds_again[0] = 1;
    tell(0, "");
    settle();
    assert_int_equal(app.resumed, 1);
    assert_int_equal(status_for(ann), 0);
    app.holds_again[0] = 0;
    tell(0, "");
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("woken"));
    assert_int_equal(ask(ann, GET("/hold?0.5000")), 0);
    later(4999);
    assert_int_equal(status_for(ann), 0);
    later(1);
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("expired"));
    assert_int_equal(ask(ann, GET("/hold?0.5000.1") GET("/next")), 0);
    tell(0, "");
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(the_answer.length, 18000);
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("1 /next - a 1.1 0 []"));
    assert_int_equal(ask(ann, GET("/hold?0.50000")), 0);
    ann->has_ended = 1;
    later(4 * SECOND);
    assert_false(ann->is_open);
    assert_int_equal(app.gone, 1);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "GET /hold?0.9 HTTP/1.0\r\n\r\n"), 0);
    later(9);
    assert_int_equal(status_for(ann), 200);
    assert_true(ann->is_shut);
    close_server();
}

static void test_deadlines_of_held_requests_are_kept(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    say(ann, GET("/first") GET("/hold?0.20000")); /* the answer before it goes out when it is held */
    say(bob, GET("/hold?0.5000"));
    settle();
    assert_int_equal(status_for(ann), 200);
    later(5 * SECOND);
    assert_int_equal(status_for(bob), 200);
    assert_int_equal(status_for(ann), 0);
    later(15 * SECOND - 1);
    assert_int_equal(status_for(ann), 0);
    later(1);
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("expired"));
    close_server();
}

static void test_held_behind_an_answer_without_room(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    turn();
    ann->room = 10;
    say(ann, GET("/first") GET("/hold?0.20000") GET("/last"));
    turns(3);
    assert_int_equal(ann->heard_length, 10);
    tell(1, ""); /* another channel */
    later(SECOND);
    say(ann, GET("/not yet"));
    ann->room = ENDLESS;
    settle();
    assert_true(ann->said_at < ann->said_length); /* it is not read before the one that is held is answered */
    ann->said_length = ann->said_at;
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(ann), 0);
    assert_int_equal(app.resumed, 0);
    tell(0, "");
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("woken"));
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("1 /last - a 1.1 0 []"));
    ann = dial("192.0.2.1"); /* woken before there is room */
    turn();
    ann->room = 10;
    say(ann, GET("/first") GET("/hold?0.20000") GET("/last"));
    turns(3);
    tell(0, "");
    turns(3);
    ann->room = ENDLESS;
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("woken"));
    assert_int_equal(status_for(ann), 200);
    ann = dial("192.0.2.1"); /* gone before there is room */
    turn();
    ann->room = 10;
    say(ann, GET("/first") GET("/hold?0.20000"));
    turns(3);
    ann->is_gone = 1;
    settle();
    assert_false(ann->is_open);
    assert_int_equal(app.gone, 1);
    close_server();
}

static void test_held_give_up_their_buffers(void **state)
{
    struct caller *ann, *bob, *eve, *dan;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    eve = dial("192.0.2.3");
    dan = dial("192.0.2.4");
    turn();
    say(ann, GET("/hold?0.20000") GET("/dropped"));
    turn();
    bob->room = 10;
    say(bob, GET("/first") GET("/hold?0.20000"));
    turns(2);
    assert_int_equal(world.server->free_buffer_count, 2);
    say(eve, "GET"); /* ann loses what she sent behind: who asks goes last */
    turns(2);
    assert_int_equal(world.server->free_buffer_count, 2);
    assert_true(ann->is_open && bob->is_open && eve->is_open);
    dan->room = 10;
    say(dan, GET("/big")); /* now bob goes, who does not take his answer */
    turns(2);
    assert_true(ann->is_open && !bob->is_open && eve->is_open && dan->is_open);
    say(eve, " / HTTP/1.1\r\n" HOST "\r\n");
    turns(2);
    assert_int_equal(status_for(eve), 200);
    tell(0, "");
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_true(body_is("woken") && the_answer.closes);
    assert_string_equal(heard(ann), "");
    assert_true(ann->is_shut);
    close_server();
}

static void test_many_held_expire_at_once(void **state)
{
    struct caller *callers[20];
    int i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < 20; i++) {
        callers[i] = dial("192.0.2.1");
        turn();
        if (i % 4 == 0) callers[i]->room = 150;
        say(callers[i], GET("/hold?0.5000") GET("/next"));
        turn();
    }
    later(5 * SECOND);
    for (i = 0; i < 20; i++) {
        if (i % 4 != 0) assert_int_equal(status_for(callers[i]), 200);
    }
    assert_int_equal(app.expired, 20);
    close_server();
}

/* ---- limits ---- */

/* The answer to GET / in one turn. */
static int ask_in_a_turn(struct caller *caller)
{
    say(caller, GET("/"));
    turn();
    return status_for(caller);
}

/* COUNT connections that rest, and one that goes on asking. */
static struct caller *rest_but_one(size_t count)
{
    struct caller *ann;

    open_server(4300, 0);
    while (count-- > 0) (void)dial("192.0.2.1");
    settle();
    later(2 * ACTIVE_MS);
    ann = dial("192.0.2.2");
    settle();
    assert_int_equal(ask_in_a_turn(ann), 200);
    assert_int_equal(world.polled, world.server->busy.count);
    return ann;
}

static void test_resting_connections_are_polled_less_often(void **state)
{
    static const struct {
        size_t count;
        int late_ms;
    } rows[] = {{5 * RESTING_PER_MS, 5}, {42 * RESTING_PER_MS, RESTING_MS}};
    struct caller *ann, *bob = &world.callers[0];
    size_t i, j, fixed;

    (void)state;
    for (i = 0; i < 2; i++) {
        ann = rest_but_one(rows[i].count);
        fixed = world.server->fixed;
        for (j = 0; j < 20; j++) { /* time stands still */
            say(bob, j == 10 ? GET("/") : "");
            assert_int_equal(ask_in_a_turn(ann), 200);
            assert_int_equal(world.polled, fixed + 1);
        }
        world.now_ms += rows[i].late_ms - 1;
        for (j = 0; j < 2; j++) assert_int_equal(ask_in_a_turn(ann), 200); /* the first reads the clock */
        assert_string_equal(heard(bob), "");
        world.now_ms++;
        for (j = 0; j < 2; j++) assert_int_equal(ask_in_a_turn(ann), 200);
        assert_int_equal(status_for(bob), 200);
        assert_int_equal(world.polled, world.server->busy.count);
        assert_int_equal(ask_in_a_turn(ann), 200);
        assert_int_equal(world.polled, fixed + 2); /* he is not resting now */
        world.until_ms = world.now_ms + SECOND;
        assert_int_equal(http_turn(world.server, -1), 0);
        assert_in_range(world.asked_ms, 1, rows[i].late_ms); /* something may be going on yet; */
        assert_int_equal(http_turn(world.server, -1), 0);
        assert_int_equal(world.polled, world.server->busy.count); /* nothing is: all are waited for, */
        assert_in_range(world.asked_ms, SECOND, IDLE_MS);
        say(&world.callers[1], GET("/"));
        turn();
        assert_int_equal(status_for(&world.callers[1]), 200); /* and nobody waits for us */
        close_server();
    }
}

static void test_a_resting_connection_whose_request_came_is_not_idle(void **state)
{
    struct caller *ann, *bob = &world.callers[499];
    int i;

    (void)state;
    ann = rest_but_one(5 * RESTING_PER_MS);
    for (i = 0; i < IDLE_MS - 2 * ACTIVE_MS; i++) {
        world.now_ms++;
        if (i == IDLE_MS - 2 * ACTIVE_MS - 3) say(bob, GET("/"));
        assert_int_equal(ask_in_a_turn(ann), 200);
    }
    for (i = 0; i < 5; i++) {
        world.now_ms++;
        assert_int_equal(ask_in_a_turn(ann), 200);
    }
    assert_int_equal(status_for(bob), 200);
    close_server();
}

static void test_a_fan_out_does_not_poll_those_that_rest(void **state)
{
    struct caller *ann = rest_but_one(5 * RESTING_PER_MS);
    size_t i, polled[4];

    (void)state;
    for (i = 0; i < 4 * FAN_OUT_SLICE; i++) {
        say(dial("192.0.2.3"), GET("/stream"));
        if (i % ACCEPT_SLICE == 0) settle();
    }
    settle();
    later(3 * ACTIVE_MS);
    assert_int_equal(ask_in_a_turn(ann), 200);
    world.now_ms += 10;
    tell(0, "news");
    for (i = 0; i < 4; i++) {
        turn();
        assert_int_equal(world.asked_ms, 0);
        polled[i] = world.polled;
    }
    assert_int_equal(polled[0], world.server->fixed + 1);
    assert_int_equal(polled[1], world.server->busy.count); /* it was time for them */
    assert_int_equal(polled[2], world.server->fixed + 1);
    assert_int_equal(polled[3], world.server->fixed + 1);
    close_server();
}

static void test_a_house_at_rest_wakes_once_a_second(void **state)
{
    size_t i, waits = 0;
    int64_t end_ms;

    (void)state;
    (void)rest_but_one(2 * RESTING_PER_MS);
    for (i = 0; i < 4 * SWEEP_SLICE; i++) { /* a sweep takes several turns */
        say(dial("192.0.2.3"), GET("/stream"));
        if (i % ACCEPT_SLICE == 0) settle();
    }
    settle();
    later(3 * ACTIVE_MS);
    end_ms = world.now_ms + 10 * SECOND;
    while (world.now_ms < end_ms) {
        world.until_ms = end_ms;
        assert_int_equal(http_turn(world.server, -1), 0);
        waits += world.asked_ms != 0;
    }
    assert_in_range(waits, 9, 11);
    close_server();
}

static void test_who_asks_now_and_then_does_not_rest(void **state)
{
    struct caller *ann, *bob;
    size_t i;

    (void)state;
    open_server(1000, 0);
    for (i = 0; i < 9 * RESTING_PER_MS; i++) (void)dial("192.0.2.1");
    ann = dial("192.0.2.2");
    bob = dial("192.0.2.3");
    settle();
    later(3 * ACTIVE_MS);
    assert_int_equal(ask(ann, GET("/")), 200);
    later(20);
    assert_int_equal(ask(bob, GET("/")), 200);
    for (i = 1; i <= 40; i++) { /* he comes once a second, and she always keeps the loop from polling all */
        world.now_ms += ACTIVE_MS / 4;
        assert_int_equal(ask(ann, GET("/")), 200);
        if (i % 4 == 0) assert_int_equal(ask(bob, GET("/")), 200);
    }
    close_server();
}

static void test_longest_idle_makes_room(void **state)
{
    struct caller *callers[4], *eve;
    int i;

    (void)state;
    open_server(4, 0);
    for (i = 0; i < 4; i++) {
        callers[i] = dial("192.0.2.1");
        assert_int_equal(ask(callers[i], GET("/")), 200);
        later(1);
    }
    assert_int_equal(ask(callers[0], GET("/")), 200);
    eve = dial("192.0.2.2");
    assert_int_equal(ask(eve, GET("/")), 200);
    assert_false(callers[1]->is_open);
    assert_true(callers[0]->is_open && callers[2]->is_open && callers[3]->is_open);
    close_server();
}

static void test_a_request_on_its_way_keeps_its_connection(void **state)
{
    struct caller *ann, *bob, *eve, *joe;

    (void)state;
    open_server(2, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/")), 200);
    later(1);
    bob = dial("192.0.2.2");
    assert_int_equal(ask(bob, GET("/")), 200);
    later(1);
    say(ann, GET("/"));
    world.late = ann;
    eve = dial("192.0.2.3");
    settle();
    assert_int_equal(status_for(ann), 200); /* she is idle longest, but has asked */
    assert_false(bob->is_open);
    assert_int_equal(ask(eve, GET("/")), 200);
    ann->has_ended = eve->has_ended = 1;
    settle();
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/")), 200);
    eve = dial("192.0.2.3");
    assert_int_equal(ask(eve, GET("/hold?0")), 0);
    say(ann, GET("/"));
    world.late = ann;
    joe = dial("192.0.2.4");
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(joe), 503); /* nobody else was idle */
    world.late = ann;
    ann->has_ended = 1;
    joe = dial("192.0.2.5");
    assert_int_equal(ask(joe, GET("/")), 200); /* who has gone makes room */
    close_server();
}

/* A proxy may be sending a request on any connection it keeps. */
static void test_others_make_room_before_a_proxy(void **state)
{
    struct caller *proxy, *ann, *bob;

    (void)state;
    open_server(2, 0);
    proxy = dial(PROXY);
    assert_int_equal(ask(proxy, GET_FOR("/", "198.51.100.1")), 200);
    later(1);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/")), 200);
    later(1);
    bob = dial(PROXY);
    assert_int_equal(ask(bob, GET("/")), 200);
    assert_false(ann->is_open);
    assert_true(proxy->is_open);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/")), 200);
    assert_false(proxy->is_open); /* there was no other */
    assert_true(bob->is_open);
    close_server();
}

static void test_full_of_busy_ones(void **state)
{
    struct caller *callers[4], *late[20];
    int i;

    (void)state;
    open_server(4, 0);
    for (i = 0; i < 4; i++) {
        callers[i] = dial("192.0.2.1");
        assert_int_equal(ask(callers[i], i % 2 ? GET("/stream?0") : GET("/hold?0.60000")), i % 2 ? 200 : 0);
    }
    for (i = 0; i < 20; i++) { /* more than there are places to wait for their 503 to be read */
        late[i] = dial("192.0.2.2");
        if (i == 10) late[i]->room = 10;
        turn();
        assert_int_equal(status_for(late[i]), i == 10 ? 0 : 503);
        if (i != 10) assert_true(the_answer.closes && the_answer.length > 10);
    }
    assert_false(late[0]->is_open);
    assert_false(late[10]->is_open);
    assert_true(late[19]->is_open);
    tell(0, "still here");
    settle();
    for (i = 0; i < 4; i++) {
        if (i % 2) assert_string_equal(heard(callers[i]), "still here");
        else assert_int_equal(status_for(callers[i]), 200);
    }
    close_server();
}

static void test_gone_ones_make_room(void **state)
{
    struct caller *callers[4];
    int i;

    (void)state;
    open_server(4, 0);
    for (i = 0; i < 4; i++) {
        callers[i] = dial("192.0.2.1");
        assert_int_equal(ask(callers[i], i % 2 ? GET("/stream?0") : GET("/hold?0.60000")), i % 2 ? 200 : 0);
    }
    callers[0]->has_ended = callers[1]->has_ended = 1; /* the sweep comes later */
    assert_int_equal(ask(dial("192.0.2.2"), GET("/stream?1")), 200);
    assert_false(callers[0]->is_open || callers[1]->is_open);
    assert_int_equal(ask(dial("192.0.2.2"), GET("/stream?1")), 200);
    assert_true(callers[2]->is_open && callers[3]->is_open);
    callers[2]->has_ended = 1;
    assert_int_equal(ask(dial("192.0.2.2"), ""), 503); /* newcomers do not make it look again and again */
    later(LOOK_MS);
    assert_int_equal(ask(dial("192.0.2.2"), GET("/stream?1")), 200);
    tell(0, "still here");
    settle();
    assert_string_equal(heard(callers[3]), "still here");
    close_server();
}

static void test_limit_of_an_address(void **state)
{
    struct caller *ann[4], *four;
    int i;

    (void)state;
    open_server(32, 3);
    for (i = 0; i < 4; i++) {
        ann[i] = dial("192.0.2.1");
        assert_int_equal(ask(ann[i], i < 3 ? GET("/") : ""), i < 3 ? 200 : 503);
    }
    for (i = 0; i < 10; i++) assert_int_equal(ask(dial(i % 2 ? "127.0.0.1" : "::1"), GET("/")), 200);
    for (i = 0; i < 4; i++) assert_int_equal(ask(dial("::2"), i < 3 ? GET("/") : ""), i < 3 ? 200 : 503);
    four = dial("::ffff:192.0.2.1"); /* the same address */
    assert_int_equal(ask(four, ""), 503);
    ann[0]->has_ended = 1;
    settle();
    four = dial("192.0.2.1");
    assert_int_equal(ask(four, GET("/")), 200);
    close_server();
}

static void test_addresses_are_remembered_and_forgotten(void **state)
{
    struct caller *ann;
    unsigned char *kept, *shared;
    char address[32];
    int i;

    (void)state;
    open_server(8, 2);
    ann = dial("192.0.2.1");
    turn();
    kept = http_peer(turn_of(world.server->idle.prev));
    memset(kept, 'k', 32);
    ann->has_ended = 1;
    turn();
    ann = dial("192.0.2.1");
    turn();
    assert_ptr_equal(http_peer(turn_of(world.server->idle.prev)), kept);
    assert_int_equal(kept[31], 'k'); /* remembered */
    ann->has_ended = 1;
    turn();
    for (i = 0; i < PEERS_MIN - 1; i++) { /* as many as there are entries */
        sprintf(address, "198.51.100.%d", i);
        dial(address)->has_ended = 1;
        turns(2);
    }
    ann = dial("203.0.113.4");
    turn();
    assert_ptr_equal(http_peer(turn_of(world.server->idle.prev)), kept); /* that of the one longest away */
    for (i = 0; i < 32; i++) assert_int_equal(kept[i], 0);
    ann->has_ended = 1;
    turn();
    app.is_forgettable = 0;
    ann = dial("203.0.113.1");
    turn();
    shared = http_peer(turn_of(world.server->idle.prev));
    assert_ptr_equal(shared, peer_bytes(peer_at(world.server, 0)));
    assert_true(app.asked_forgettable > 0);
    assert_int_equal(ask(dial("203.0.113.2"), GET("/")), 200);
    assert_int_equal(ask(dial("203.0.113.3"), ""), 503); /* they share one entry, and its limit */
    for (i = 0; i < 4; i++) assert_int_equal(ask(dial("127.0.0.1"), GET("/")), 200); /* loopback is exempt even so */
    assert_true(http_is_loopback(turn_of(world.server->idle.prev)));
    assert_false(http_is_loopback(turn_of(world.server->idle.next)));
    app.is_forgettable = 1;
    later(80 * SECOND);
    for (i = 0; i < 300; i++) { /* round and round: the entries' buckets stay whole */
        sprintf(address, "2001:db8::%x", i);
        ann = dial(address);
        assert_int_equal(ask(ann, GET("/")), 200);
        assert_ptr_not_equal(http_peer(turn_of(world.server->idle.prev)), shared);
        ann->has_ended = 1;
        turn();
    }
    close_server();
}

static void test_addresses_to_keep_do_not_hide_others(void **state)
{
    struct caller *ann;
    unsigned char *peer = NULL;
    char address[32];
    int i, is_found = 0;

    (void)state;
    open_server(8, 2);
    for (i = 0; i < PEERS_MIN; i++) { /* only the last may be forgotten */
        sprintf(address, "198.51.100.%d", i);
        ann = dial(address);
        turn();
        peer = http_peer(turn_of(world.server->idle.prev));
        if (i < PEERS_MIN - 1) *peer = 'K';
        ann->has_ended = 1;
        turn();
    }
    for (i = 0; i < 1 + PEERS_MIN / FORGET_TRIES && !is_found; i++) {
        ann = dial("203.0.113.1");
        turn();
        is_found = http_peer(turn_of(world.server->idle.prev)) == peer;
        ann->has_ended = 1;
        turn();
    }
    assert_true(is_found);
    close_server();
}

/* ---- proxies ---- */

static void test_addresses(void **state)
{
    static const struct {
        const char *text, *address; /* NULL: none */
    } rows[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"0.0.0.0", "0.0.0.0"},
        {"192.0.2.1:1", "192.0.2.1"},
        {"192.0.2.1:65535", "192.0.2.1"},
        {"::", "::"},
        {"::1", "::1"},
        {"2001:db8::a", "2001:db8::a"},
        {"2001:DB8::A", "2001:db8::a"},
        {"2001:0db8:0000:0000:0000:0000:0000:000a", "2001:db8::a"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"[2001:db8::a]", "2001:db8::a"},
        {"[2001:db8::a]:443", "2001:db8::a"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::FFFF:c000:0201", "192.0.2.1"},
        {"[::ffff:192.0.2.1]:8080", "192.0.2.1"},
        {"0000:0000:0000:0000:0000:ffff:255.255.255.255", "255.255.255.255"}, /* the longest */
        {"0000:0000:0000:0000:0000:ffff:255.255.255.2555", NULL},
        {"[0000:0000:0000:0000:0000:ffff:255.255.255.255]:65535", "255.255.255.255"},
        {"", NULL},
        {" ", NULL},
        {":", NULL},
        {":80", NULL},
        {"[", NULL},
        {"[]", NULL},
        {"[]:80", NULL},
        {"[[::1]]", NULL},
        {"[::1", NULL},
        {"[::1]80", NULL},
        {"[::1]x", NULL},
        {"[::1]:", NULL},
        {"[::1]:x", NULL},
        {"[192.0.2.1]", NULL}, /* only an IPv6 address stands in brackets */
        {"192.0.2.1:", NULL},
        {"192.0.2.1:x", NULL},
        {"192.0.2.1:65536", NULL},
        {"1", NULL},
        {"unknown", NULL},
        {"_hidden", NULL},
        {"localhost", NULL},
        {"localhost:80", NULL},
        {"unix:", NULL},
        {"192.0.2", NULL},
        {"192.0.2.", NULL},
        {"192.0.2.256", NULL},
        {"192.0.2.1.5", NULL},
        {"192.0.2.-1", NULL},
        {"0x7f.0.0.1", NULL},
        {"192.0.2.1 ", NULL},
        {" 192.0.2.1", NULL},
        {"192.0.2.1/24", NULL},
        {"192.0.2.1,192.0.2.2", NULL},
        {"\"192.0.2.1\"", NULL},
        {":::", NULL},
        {"::1::", NULL},
        {"1:2:3:4:5:6:7", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {"2001:db8::g", NULL},
        {"fe80::1%eth0", NULL},
        {"11111111111111111111111111111111111111111111111111111111111111111111111111111111", NULL},
    };
    unsigned char address[HTTP_ADDRESS_SIZE], wanted[HTTP_ADDRESS_SIZE];
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int result = http_address(guarded(rows[i].text), address);
        if (result != (rows[i].address != NULL ? 0 : -1)) fail_msg("%s", rows[i].text);
        if (rows[i].address == NULL) continue;
        bytes_of_address(rows[i].address, wanted);
        if (memcmp(address, wanted, sizeof wanted) != 0) fail_msg("%s is not %s", rows[i].text, rows[i].address);
    }
}

static void test_client_of_a_proxy(void **state)
{
    static const struct {
        const char *from, *fields, *client;
        int is_local;
    } rows[] = {
        {PROXY, FOR("198.51.100.1"), "198.51.100.1", 0},
        {PROXY_SIX, FOR("198.51.100.1"), "198.51.100.1", 0},
        {"::ffff:" PROXY, FOR("198.51.100.1"), "198.51.100.1", 0}, /* a listener for both sees it so */
        {PROXY, "x-FORWARDED-for:198.51.100.1\r\n", "198.51.100.1", 0},
        {PROXY, FOR("2001:db8::7"), "2001:db8::7", 0},
        {PROXY, FOR("[2001:db8::7]:50000"), "2001:db8::7", 0},
        {PROXY, FOR("198.51.100.1:50000"), "198.51.100.1", 0},
        {PROXY, FOR("::ffff:198.51.100.1"), "198.51.100.1", 0},
        /* the last is the proxy's own, what stands before it anybody's */
        {PROXY, FOR("198.51.100.1, 198.51.100.2"), "198.51.100.2", 0},
        {PROXY, FOR("127.0.0.1, 198.51.100.2"), "198.51.100.2", 0},
        {PROXY, FOR("198.51.100.1,198.51.100.2,198.51.100.3"), "198.51.100.3", 0},
        {PROXY, FOR("rubbish, \t 198.51.100.2 \t "), "198.51.100.2", 0},
        {PROXY, FOR(",,,198.51.100.2"), "198.51.100.2", 0},
        {PROXY, FOR("198.51.100.1") FOR("198.51.100.2"), "198.51.100.2", 0},
        {PROXY, FOR("198.51.100.1, 198.51.100.2") "Accept: */*\r\n" FOR("198.51.100.3, 198.51.100.4"), "198.51.100.4", 0},
        {PROXY, FOR("") FOR("198.51.100.1"), "198.51.100.1", 0},
        /* without one that can be read it is the proxy's own */
        {PROXY, "", PROXY, 0},
        {PROXY, FOR(""), PROXY, 0},
        {PROXY, FOR("unknown"), PROXY, 0},
        {PROXY, FOR("198.51.100.1, unknown"), PROXY, 0},
        {PROXY, FOR("198.51.100.1,"), PROXY, 0},
        {PROXY, FOR("198.51.100.1 , "), PROXY, 0},
        {PROXY, FOR("198.51.100.1") FOR(""), PROXY, 0},
        {PROXY, FOR("198.51.100.1;198.51.100.2"), PROXY, 0},
        {PROXY, "X-Forwarded-Fo: 198.51.100.1\r\nX-Forwarded-Fort: 198.51.100.1\r\nX-Real-IP: 198.51.100.1\r\n", PROXY, 0},
        /* this machine is the client's, not the proxy's */
        {PROXY, FOR("127.0.0.1"), "127.0.0.1", 1},
        {PROXY, FOR("198.51.100.1, ::1"), "::1", 1},
        {PROXY_HERE, "", PROXY_HERE, 1},
        {PROXY_HERE, FOR("unknown"), PROXY_HERE, 1},
        {PROXY_HERE, FOR("127.3.2.1"), "127.3.2.1", 1},
        {PROXY_HERE, FOR("198.51.100.1"), "198.51.100.1", 0},
        {PROXY_HERE, FOR("127.0.0.1, 2001:db8::1"), "2001:db8::1", 0},
        /* a stranger may say what he likes */
        {"192.0.2.1", FOR("198.51.100.1"), "192.0.2.1", 0},
        {"192.0.2.1", FOR("127.0.0.1"), "192.0.2.1", 0},
        {"192.0.2.1", FOR(PROXY), "192.0.2.1", 0},
        {"192.0.2.98", FOR("127.0.0.1"), "192.0.2.98", 0},
        {"::192.0.2.99", FOR("127.0.0.1"), "::192.0.2.99", 0},
        {"127.0.0.1", FOR("198.51.100.1"), "127.0.0.1", 1},
        {"::1", FOR("198.51.100.1"), "::1", 1},
    };
    char request[512];
    size_t i;

    (void)state;
    open_server(64, 0);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned char wanted[HTTP_ADDRESS_SIZE];
        const struct http_connection *connection;
        sprintf(request, "GET / HTTP/1.1\r\n" HOST "%s\r\n", rows[i].fields);
        assert_int_equal(ask(dial(rows[i].from), request), 200);
        connection = turn_of(world.server->idle.prev);
        bytes_of_address(rows[i].client, wanted);
        if (memcmp(connection->client->address, wanted, sizeof wanted) != 0) fail_msg("%s%s", rows[i].from, rows[i].fields);
        if (http_is_loopback(connection) != rows[i].is_local) fail_msg("%s%s, local", rows[i].from, rows[i].fields);
    }
    close_server();
}

/* The answer to /count asked by PROXY for FIELDS. */
static int count_is(struct caller *proxy, const char *fields, const char *wanted)
{
    char request[512];

    sprintf(request, "GET /count HTTP/1.1\r\n" HOST "%s\r\n", fields);
    return ask(proxy, request) == 200 && body_is(wanted);
}

static void test_each_request_has_its_client(void **state)
{
    struct caller *proxy, *other, *ann;

    (void)state;
    open_server(32, 3);
    proxy = dial(PROXY);
    other = dial(PROXY_HERE);
    assert_true(count_is(proxy, FOR("198.51.100.1"), "1"));
    assert_true(count_is(proxy, FOR("198.51.100.1"), "2"));
    assert_true(count_is(proxy, FOR("198.51.100.2"), "1"));
    assert_true(count_is(proxy, FOR("198.51.100.2, 198.51.100.1"), "3"));
    assert_true(count_is(proxy, "", "1")); /* its own, not that of the one before */
    assert_true(count_is(proxy, FOR("::1"), "1 LOCAL"));
    assert_true(count_is(proxy, "", "2"));
    assert_true(count_is(other, FOR("198.51.100.1"), "4")); /* whichever way */
    assert_true(count_is(other, "", "1 LOCAL"));
    assert_true(count_is(other, FOR("198.51.100.2"), "2"));
    ann = dial("198.51.100.1");
    assert_true(count_is(ann, FOR("198.51.100.2"), "5"));
    say(proxy, "GET /count HTTP/1.1\r\n" HOST FOR("198.51.100.3") "\r\n"
               "GET /count HTTP/1.1\r\n" HOST "\r\n"
               "GET /count HTTP/1.1\r\n" HOST FOR("198.51.100.3") "\r\n");
    settle();
    assert_true(status_for(proxy) == 200 && body_is("1"));
    assert_true(status_for(proxy) == 200 && body_is("3"));
    assert_true(status_for(proxy) == 200 && body_is("2"));
    close_server();
}

/* What comes later has the client of its head, even if that was forgotten in between. */
static void test_client_of_content_that_comes_later(void **state)
{
    struct caller *proxy, *other;
    char fields[64];
    int i, is_forgotten;

    (void)state;
    for (is_forgotten = 0; is_forgotten < 2; is_forgotten++) {
        open_server(32, 3);
        proxy = dial(PROXY);
        other = dial(PROXY);
        assert_true(count_is(proxy, FOR("198.51.100.1"), "1"));
        say(proxy, "POST /count HTTP/1.1\r\n" HOST FORM FOR("198.51.100.1") "Content-Length: 4\r\n\r\nab");
        settle();
        app.is_forgettable = is_forgotten;
        for (i = 0; i < 2 * PEERS_MIN; i++) {
            sprintf(fields, FOR("2001:db8::%x"), i);
            if (is_forgotten) assert_true(count_is(other, fields, "1"));
        }
        assert_true(count_is(other, FOR("198.51.100.2"), "1"));
        say(proxy, "cd");
        settle();
        assert_int_equal(status_for(proxy), 200);
        assert_true(body_is(is_forgotten ? "1" : "2"));
        close_server();
    }
}

static void test_connections_of_a_proxy_are_not_limited(void **state)
{
    struct caller *proxy[20];
    int i, round;

    (void)state;
    open_server(64, 2);
    for (round = 0; round < 2; round++) {
        for (i = 0; i < 20; i++) {
            if (round == 0) proxy[i] = dial(i % 3 == 0 ? PROXY : i % 3 == 1 ? PROXY_SIX : PROXY_HERE);
            assert_int_equal(ask(proxy[i], GET_FOR("/", "198.51.100.1")), 200); /* nor do requests that end count */
        }
    }
    for (i = 0; i < 3; i++) assert_int_equal(ask(dial("198.51.100.1"), i < 2 ? GET("/") : ""), i < 2 ? 200 : 503);
    close_server();
}

/* A stream or a held request by way of PROXY for CLIENT; its status, 0 while it is held. */
static int wait_by(const char *proxy, const char *client, const char *target, struct caller **caller)
{
    char request[256];

    *caller = dial(proxy);
    sprintf(request, "GET %s HTTP/1.1\r\n" HOST FOR("%s") "\r\n", target, client);
    return ask(*caller, request);
}

static void test_streams_through_a_proxy_count_for_the_client(void **state)
{
    struct caller *first, *second, *other;

    (void)state;
    open_server(64, 2);
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &first), 200);
    assert_int_equal(wait_by(PROXY_HERE, "198.51.100.1", "/hold?1", &second), 0); /* whichever proxy */
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &other), 503);
    assert_false(the_answer.closes);
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/hold?0", &other), 503);
    assert_int_equal(ask(other, GET_FOR("/", "198.51.100.1")), 200); /* asking is not waiting */
    assert_int_equal(ask(other, GET_FOR("/stream?0", "198.51.100.2")), 200); /* another client may */
    assert_int_equal(ask(dial("198.51.100.1"), ""), 503); /* his own connections are of the same number */
    assert_int_equal(ask(dial("198.51.100.2"), GET("/")), 200);
    assert_int_equal(wait_by(PROXY, "198.51.100.2", "/stream?0", &other), 503);
    first->has_ended = 1;
    later(4 * SECOND);
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &first), 200);
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &other), 503);
    tell(1, "x\n");
    settle();
    assert_int_equal(status_for(second), 200);
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &second), 200);
    close_server();
}

/* Those whom no limit of an address holds. */
static void test_who_waits_without_limit(void **state)
{
    static const struct {
        const char *proxy, *client;
        int is_limited;
    } rows[] = {
        {PROXY, "198.51.100.1", 1}, {PROXY_HERE, "198.51.100.1", 1}, {PROXY, "127.0.0.1", 0}, {PROXY, "::1", 0},
        {PROXY_HERE, "127.0.0.1", 0}, {PROXY_HERE, "", 0}, {PROXY, "", 0}, {PROXY, PROXY, 0}, {PROXY, PROXY_SIX, 1},
    };
    struct caller *caller;
    size_t i, limit;
    int times;

    (void)state;
    for (limit = 0; limit < 2; limit++) {
        for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            open_server(32, limit);
            for (times = 0; times < 4; times++) {
                int is_refused = limit > 0 && rows[i].is_limited && times > 0;
                assert_int_equal(wait_by(rows[i].proxy, rows[i].client, "/stream?0", &caller), is_refused ? 503 : 200);
            }
            close_server();
        }
    }
}

/* Ways in which a stream or a held request ends. */
enum way { HANGS_UP, IS_RESET, WOKEN, EXPIRED, OVER, STALLED, HELD_AGAIN };

static void test_what_ends_counts_no_more(void **state)
{
    static const struct {
        const char *target;
        enum way way;
    } rows[] = {
        {"/stream?0", HANGS_UP},  {"/stream?0", IS_RESET},      {"/stream?0", OVER},          {"/stream?0.400", STALLED},
        {"/hold?0", HANGS_UP},    {"/hold?0", IS_RESET},        {"/hold?0", WOKEN},           {"/hold?0.2000", EXPIRED},
        {"/hold?0.2000.1", EXPIRED}, {"/hold?0.30000.1", WOKEN}, {"/hold?0.30000.2", WOKEN}, {"/hold?0.2000.2", EXPIRED},
        {"/hold?0.9000", HELD_AGAIN},
    };
    struct caller *ann, *other;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_server(32, 1);
        ann = dial(PROXY);
        if (rows[i].way == STALLED) ann->room = 300;
        other = dial(PROXY);
        say(ann, "GET ");
        say(ann, rows[i].target);
        say(ann, " HTTP/1.1\r\n" HOST FOR("198.51.100.1") "\r\n");
        settle();
        app.holds_again[0] = rows[i].way == HELD_AGAIN;
        assert_int_equal(ask(other, GET_FOR("/stream?1", "198.51.100.1")), 503);
        if (rows[i].way == HANGS_UP) ann->has_ended = 1;
        if (rows[i].way == IS_RESET) ann->is_gone = 1;
        if (rows[i].way == OVER) app.has_ended[0] = 1;
        if (rows[i].way == WOKEN || rows[i].way == OVER || rows[i].way == HELD_AGAIN) tell(0, "x\n");
        settle();
        if (rows[i].way == HELD_AGAIN) assert_int_equal(ask(other, GET_FOR("/stream?1", "198.51.100.1")), 503);
        later(rows[i].way == STALLED ? STALL_MS + SECOND : rows[i].way == HELD_AGAIN ? 10 * SECOND : 4 * SECOND);
        if (ask(other, GET_FOR("/stream?1", "198.51.100.1")) != 200) fail_msg("%s, %d", rows[i].target, (int)rows[i].way);
        close_server();
    }
}

/* A pulled answer is no waiting, nor is what HEAD gets. */
static void test_only_who_waits_counts(void **state)
{
    struct caller *ann, *other;
    int i;

    (void)state;
    open_server(32, 1);
    ann = dial(PROXY);
    ann->room = 5000;
    say(ann, GET_FOR("/hold?0.30000.1", "198.51.100.1"));
    settle();
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?1", &other), 503);
    tell(0, "x\n");
    settle(); /* now he takes an answer in, slowly */
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/hold?1", &other), 0);
    other->is_gone = 1;
    later(4 * SECOND);
    for (i = 0; i < 3; i++) {
        other = dial(PROXY);
        say(other, "HEAD /stream?1 HTTP/1.1\r\n" HOST FOR("198.51.100.1") "\r\n");
        settle();
        assert_int_equal(next_answer(other, 1, &the_answer), 200);
    }
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?1", &other), 200);
    other = dial(PROXY);
    say(other, "HEAD /stream?1 HTTP/1.1\r\n" HOST FOR("198.51.100.1") "\r\n");
    settle();
    assert_int_equal(next_answer(other, 1, &the_answer), 503);
    close_server();
}

static void test_half_requests_of_a_proxy(void **state)
{
    struct caller *proxy[6], *ann[6];
    int i;

    (void)state;
    open_server(160, 0); /* 12 buffers: 3 for an address, and two are for the one at work */
    assert_int_equal(world.server->buffer_count, 12);
    for (i = 0; i < 6; i++) {
        char request[256];
        sprintf(request, "POST /count HTTP/1.1\r\n" HOST FORM FOR("203.0.113.%d") "Content-Length: 2\r\n\r\n", i);
        proxy[i] = dial(PROXY);
        assert_int_equal(ask(proxy[i], i == 0 ? "POST" : request), 0);
        if (i == 0) say(proxy[i], request + 4);
        later(1);
    }
    for (i = 0; i < 4; i++) {
        ann[i] = dial("198.51.100.1");
        assert_int_equal(ask(ann[i], "GET"), 0);
        later(1);
    }
    assert_int_equal(status_for(ann[0]), 408);
    for (i = 0; i < 6; i++) assert_int_equal(ask(proxy[i], "ab"), 200);
    close_server();
}

/* Behind a proxy that passes contents on as they come, a client has a quarter of the buffers and no more. */
static void test_half_contents_of_a_client(void **state)
{
    struct caller *ann, *eve[12], *local[4];
    int i;

    (void)state;
    open_server(160, 0); /* 12 buffers: 3 for an address, and two are for the one at work */
    ann = dial(PROXY_HERE);
    assert_int_equal(ask(ann, HALF(FOR("198.51.100.2"))), 0);
    for (i = 0; i < 4; i++) { /* a proxy's own are of this machine */
        local[i] = dial(PROXY_HERE);
        assert_int_equal(ask(local[i], HALF("")), 0);
    }
    for (i = 0; i < 12; i++) {
        later(1);
        eve[i] = dial(PROXY_HERE);
        assert_int_equal(ask(eve[i], HALF(FOR("198.51.100.1"))), 0);
        if (i >= 3) assert_int_equal(status_for(eve[i - 3]), 408);
    }
    for (i = 9; i < 12; i++) assert_int_equal(ask(eve[i], "ab"), 200);
    for (i = 0; i < 4; i++) assert_int_equal(ask(local[i], "ab"), 200);
    assert_int_equal(ask(ann, "ab"), 200);
    close_server();
}

static void test_clients_beyond_the_table(void **state)
{
    struct caller *proxy, *ann, *bob;
    char fields[64];
    const struct peer *kept;
    int i;

    (void)state;
    open_server(64, 2);
    proxy = dial(PROXY);
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &ann), 200);
    assert_true(count_is(proxy, FOR("198.51.100.1"), "1"));
    kept = turn_of(world.server->idle.prev)->client;
    for (i = 0; i < 3 * PEERS_MIN; i++) { /* round and round */
        sprintf(fields, FOR("2001:db8::%x"), i);
        assert_true(count_is(proxy, fields, "1"));
    }
    assert_true(count_is(proxy, FOR("198.51.100.1"), "2")); /* one who streams is not forgotten */
    assert_ptr_equal(turn_of(world.server->idle.prev)->client, kept);
    app.is_forgettable = 0;
    for (i = 0; i < 3; i++) { /* newcomers share one entry, and its limit */
        sprintf(fields, "203.0.113.%d", i);
        assert_int_equal(wait_by(PROXY, fields, "/stream?0", &bob), i < 2 ? 200 : 503);
    }
    assert_ptr_equal(turn_of(world.server->idle.prev)->client, peer_at(world.server, 0));
    assert_int_equal(wait_by(PROXY, "127.0.0.9", "/stream?0", &bob), 200); /* loopback is exempt even so */
    assert_int_equal(wait_by(PROXY, "198.51.100.1", "/stream?0", &bob), 200); /* who has an entry has his own */
    assert_int_equal(ask(dial("203.0.113.9"), ""), 503);
    later(1);
    for (i = 0; i < (int)world.count; i++) {
        if (&world.callers[i] != proxy) world.callers[i].has_ended = 1;
    }
    later(4 * SECOND);
    assert_int_equal(peer_at(world.server, 0)->connections, 0);
    assert_int_equal(wait_by(PROXY, "203.0.113.5", "/stream?0", &bob), 200);
    app.is_forgettable = 1;
    assert_true(count_is(proxy, FOR("203.0.113.6"), "1"));
    assert_ptr_not_equal(turn_of(world.server->idle.prev)->client, peer_at(world.server, 0));
    close_server();
}

static void test_accept_fails(void **state)
{
    static const struct {
        int error, pauses;
    } rows[] = {{EINTR, 0}, {ECONNABORTED, 0}, {EPROTO, 0}, {EMFILE, 1}, {ENFILE, 1}, {ENOMEM, 1}, {ENOBUFS, 1}};
    struct caller *ann, *bob;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        open_server(8, 0);
        world.accept_errors[0] = rows[i].error;
        world.accept_error_count = 1;
        ann = dial("192.0.2.1");
        say(ann, GET("/"));
        world.polls = 0;
        settle();
        assert_int_equal(status_for(ann), rows[i].pauses ? 0 : 200);
        assert_true(world.polls < 6); /* no busy loop */
        if (rows[i].pauses) {
            assert_int_equal(world.asked_ms, PAUSE_MS);
            later(PAUSE_MS - 1);
            assert_int_equal(status_for(ann), 0);
            later(1);
            assert_int_equal(status_for(ann), 200);
        }
        close_server();
    }
    open_server(8, 0); /* an idle one gives its descriptor up */
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, GET("/")), 200);
    world.accept_errors[0] = EMFILE;
    world.accept_error_count = 1;
    bob = dial("192.0.2.2");
    assert_int_equal(ask(bob, GET("/")), 200);
    assert_false(ann->is_open);
    world.fcntl_fails = 1; /* it can't be made not to block */
    ann = dial("192.0.2.1");
    turn();
    assert_false(ann->is_open);
    world.fcntl_fails = 0;
    assert_int_equal(ask(bob, GET("/")), 200);
    close_server();
}

static void test_who_has_asked_makes_no_room(void **state)
{
    struct caller *callers[12];
    int i;

    (void)state;
    open_server(8, 0);
    for (i = 0; i < 12; i++) { /* all are there before the server looks */
        callers[i] = dial("192.0.2.1");
        say(callers[i], GET("/"));
    }
    settle();
    for (i = 0; i < 12; i++) assert_int_equal(status_for(callers[i]), i < 8 ? 200 : 503);
    close_server();
}

static void test_no_descriptor_costs_one_idle_connection_a_time(void **state)
{
    struct caller *callers[8];
    int i, open = 0;

    (void)state;
    open_server(16, 0);
    for (i = 0; i < 8; i++) {
        callers[i] = dial("192.0.2.1");
        assert_int_equal(ask(callers[i], GET("/")), 200);
    }
    for (i = 0; i < 16; i++) world.accept_errors[i] = ENFILE; /* others have taken them all: ours don't help */
    world.accept_error_count = 16;
    (void)dial("192.0.2.2");
    settle();
    for (i = 0; i < 8; i++) open += callers[i]->is_open;
    assert_int_equal(open, 7);
    close_server();
}

static void test_a_flood_of_callers_starves_nobody(void **state)
{
    struct caller *ann;
    int i;

    (void)state;
    open_server(1000, 0);
    ann = dial("192.0.2.1");
    turn();
    for (i = 0; i < 500; i++) dial("192.0.2.2");
    world.accepts = 0;
    turn();
    say(ann, GET("/"));
    turn();
    assert_int_equal(status_for(ann), 200);
    assert_true(world.accepts <= 2 * ACCEPT_SLICE);
    settle();
    assert_int_equal(world.server->open, 501);
    close_server();
}

/* ---- deadlines ---- */

static void test_deadlines(void **state)
{
    static const struct {
        const char *said;
        int64_t limit_ms;
        int status; /* 0: closed without a word */
    } rows[] = {{"", 75 * SECOND, 0},
                {"G", 10 * SECOND, 408},
                {"\r", 10 * SECOND, 408},
                {"GET / HTTP/1.1\r\n" HOST "\r", 10 * SECOND, 408},
                {POST("Content-Length: 2\r\n", "a"), 10 * SECOND, 408},
                {CHUNKED_POST("1\r\n"), 10 * SECOND, 408}};
    struct caller *ann;
    size_t i;

    (void)state;
    open_server(32, 0);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ann = dial("192.0.2.1");
        say(ann, rows[i].said);
        settle();
        assert_int_equal(world.asked_ms, rows[i].limit_ms);
        later(rows[i].limit_ms - 1);
        assert_int_equal(ann->heard_length, 0);
        assert_true(ann->is_open);
        assert_int_equal(world.asked_ms, 1);
        later(1);
        assert_int_equal(status_for(ann), rows[i].status);
        if (rows[i].status == 0) assert_false(ann->is_open);
        else assert_true(ann->is_shut);
        later(LINGER_MS);
        assert_false(ann->is_open);
        turn();
        assert_int_equal(world.asked_ms, -1);
    }
    close_server();
}

static void test_deadlines_of_parts(void **state)
{
    struct caller *ann;
    int i;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "GET / HT"), 0); /* a drop now and then does not help */
    for (i = 0; i < 9; i++) {
        later(SECOND);
        assert_int_equal(ask(ann, "T"), 0);
    }
    later(SECOND);
    assert_int_equal(status_for(ann), 408);
    ann = dial("192.0.2.1");
    assert_int_equal(ask(ann, "POST /echo HTTP/1.1\r\n" HOST FORM "Content-Length: 10\r\n"), 0);
    later(9 * SECOND);
    assert_int_equal(ask(ann, "\r\n"), 0); /* ten seconds for the head, and ten for the content */
    later(9 * SECOND);
    assert_int_equal(ask(ann, "123456789"), 0);
    later(SECOND - 1);
    assert_int_equal(ask(ann, "0"), 200);
    later(75 * SECOND - 1);
    assert_int_equal(ask(ann, GET("/")), 200);
    later(75 * SECOND);
    assert_false(ann->is_open);
    ann = dial("192.0.2.1");
    turn();
    ann->room = 10;
    say(ann, GET("/page"));
    settle();
    for (i = 0; i < 3; i++) {
        later(STALL_MS - 1);
        assert_true(ann->is_open);
        ann->room = 1;
        turn();
    }
    later(STALL_MS);
    assert_false(ann->is_open);
    close_server();
}

static void test_timeouts_of_poll(void **state)
{
    struct caller *ann;

    (void)state;
    open_server(32, 0);
    turn();
    assert_int_equal(world.asked_ms, -1);
    assert_int_equal(http_turn(world.server, 77), 0);
    assert_int_equal(world.asked_ms, 77);
    assert_int_equal(http_turn(world.server, INT64_MAX / 2), 0);
    assert_int_equal(world.asked_ms, INT_MAX);
    ann = dial("192.0.2.1");
    settle();
    assert_int_equal(world.asked_ms, 75 * SECOND);
    world.until_ms = world.now_ms;
    assert_int_equal(http_turn(world.server, 74 * SECOND), 0);
    assert_int_equal(world.asked_ms, 74 * SECOND);
    assert_int_equal(http_turn(world.server, 76 * SECOND), 0);
    assert_int_equal(world.asked_ms, 75 * SECOND);
    assert_int_equal(ask(ann, GET("/hold?0.700")), 0);
    assert_int_equal(world.asked_ms, 700);
    later(700);
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(ask(ann, GET("/stream?0")), 200);
    world.polls = 0;
    later(60 * SECOND);
    assert_true(world.polls <= 65); /* a wake-up a second */
    ann->room = 0; /* nothing more often while it has no room */
    tell(0, "x");
    settle();
    world.polls = 0;
    later(50 * SECOND);
    assert_true(world.polls <= 5);
    ann->is_gone = 1;
    settle();
    turn();
    assert_int_equal(world.asked_ms, -1);
    assert_true(http_now(world.server).mono_ms == world.now_ms && http_now(world.server).wall_ms == world.wall_ms);
    assert_true(http_clock().mono_ms == world.now_ms);
    close_server();
}

static void test_unread_input_is_no_busy_loop(void **state)
{
    struct caller *ann, *bob, *eve;

    (void)state;
    open_server(32, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    eve = dial("192.0.2.3");
    turn();
    eve->room = 0;
    say(ann, GET("/hold?0.50000"));
    say(bob, GET("/stream?0"));
    say(eve, GET("/page"));
    settle();
    say(ann, GET("/later"));
    say(bob, "noise");
    say(eve, GET("/later"));
    world.polls = 0;
    later(30 * SECOND);
    assert_true(world.polls < 40);
    assert_true(ann->peeks >= 9 && ann->peeks <= 11);
    assert_true(ann->said_at < ann->said_length && eve->said_at < eve->said_length);
    tell(0, "");
    eve->room = ENDLESS;
    settle();
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(ann), 200);
    assert_int_equal(status_for(eve), 200);
    assert_int_equal(status_for(eve), 200);
    close_server();
}

static void test_sweep_sees_everyone(void **state)
{
    enum { READERS = 1600 }; /* more than a slice a third */
    int i, gone = 0;

    (void)state;
    open_server(READERS, 0);
    for (i = 0; i < READERS; i++) say(dial("192.0.2.1"), GET("/stream?0"));
    settle();
    later(1500);
    for (i = 0; i < READERS; i += 3) world.callers[i].is_gone = 1, gone++;
    later(5 * SECOND + 1); /* a third a second, so it may be the first of one round and the last of the next */
    assert_int_equal(app.gone, gone);
    for (i = 0; i < READERS; i++) assert_int_equal(world.callers[i].is_open, i % 3 != 0);
    for (i = 1; i < READERS; i++) world.callers[i].is_gone = 1;
    later(5 * SECOND + 1);
    assert_int_equal(app.gone, READERS);
    close_server();
}

static void test_sweep_of_a_crowd_that_leaves(void **state)
{
    int i;

    (void)state;
    open_server(1600, 0);
    for (i = 0; i < 1600; i++) say(dial("192.0.2.1"), i < 1500 ? GET("/stream?0") : GET("/stream?1"));
    settle();
    later(1500); /* in the middle of a round */
    for (i = 0; i < 1500; i++) world.callers[i].has_ended = 1;
    app.has_ended[0] = 1;
    tell(0, "");
    settle();
    assert_int_equal(app.gone, 1500);
    for (i = 1500; i < 1550; i++) world.callers[i].is_gone = 1;
    later(5 * SECOND + 1);
    assert_int_equal(app.gone, 1550);
    tell(1, "still here");
    settle();
    for (i = 1550; i < 1600; i++) assert_true(has_heard(&world.callers[i], "still here"));
    close_server();
}

/* ---- the server ---- */

static void on_watch(void *context)
{
    ++*(int *)context;
    world.is_watch_ready = 0;
}

static void test_watches(void **state)
{
    int times = 0;

    (void)state;
    open_server(8, 0);
    world.watch_fd = 5555;
    http_watch(world.server, 5555, on_watch, &times);
    turn();
    assert_int_equal(times, 0);
    world.is_watch_ready = 1;
    settle();
    assert_int_equal(times, 1);
    assert_int_equal(ask(dial("192.0.2.1"), GET("/")), 200);
    world.is_watch_ready = 1;
    settle();
    assert_int_equal(times, 2);
    close_server();
}

static void test_memory_is_counted(void **state)
{
    struct http_options options;
    size_t small;

    (void)state;
    memset(&options, 0, sizeof options);
    options.connections = 1;
    small = http_memory(&options);
    assert_true(small > 4 * BUFFER_SIZE && small < 8 * BUFFER_SIZE);
    options.connections = 1000001;
    assert_true(http_memory(&options) - small < 1000000 * (size_t)400);
    options.connections = SIZE_MAX;
    assert_true(http_memory(&options) == SIZE_MAX);
    options.connections = SIZE_MAX - 4;
    assert_true(http_memory(&options) == SIZE_MAX);
    options.connections = 1;
    options.channels = SIZE_MAX / 8;
    assert_true(http_memory(&options) == SIZE_MAX);
}

static void test_open_explains_itself(void **state)
{
    struct http_calls real = {poll, accept, recv, send, sendmsg, set_flags, setsockopt, shutdown, close, read_clock};
    struct http_options options;
    struct http_app calls;
    struct http_server *first, *second;
    char reason[HTTP_REASON_SIZE] = "";

    (void)state;
    net = real;
    memset(&options, 0, sizeof options);
    memset(&calls, 0, sizeof calls);
    options.connections = 1;
    options.fields = "";
    options.address = "localhost";
    assert_null(http_open(&options, &calls, reason));
    assert_string_equal(reason, "localhost is not a numeric address.");
    options.address = "192.0.2.1"; /* not ours (RFC 5737) */
    assert_null(http_open(&options, &calls, reason));
    assert_non_null(strstr(reason, "Can't listen on 192.0.2.1, port 0 ("));
    options.address = NULL;
    first = http_open(&options, &calls, reason);
    assert_non_null(first);
    options.port = http_port(first);
    assert_true(options.port > 0);
    second = http_open(&options, &calls, reason);
    assert_null(second);
    assert_int_equal(errno, EADDRINUSE);
    assert_non_null(strstr(reason, "is in use; "));
    assert_int_equal(http_turn(first, 0), 0);
    assert_true(http_now(first).mono_ms > 0 && http_now(first).wall_ms > 1600000000000);
    http_close(first);
    options.connections = SIZE_MAX;
    assert_null(http_open(&options, &calls, reason));
    assert_non_null(strstr(reason, "not enough memory"));
}

static void test_close_in_the_middle(void **state)
{
    struct caller *ann, *bob;

    (void)state;
    open_server(8, 0);
    ann = dial("192.0.2.1");
    bob = dial("192.0.2.2");
    say(ann, GET("/stream?0"));
    say(bob, "GET");
    settle();
    http_close(world.server); /* no leak, says the sanitizer */
    assert_false(ann->is_open || bob->is_open);
    free(ann->said);
    free(ann->heard);
    free(bob->said);
    free(bob->heard);
}

/* ---- everything at once ---- */

static const char *const chance_requests[] = {
    GET("/"), GET("/x?y"), GET("/page"), GET("/big"), GET("/none"), GET("/stream?0.10"), GET("/stream?1"), GET("/stream?2.16384"),
    GET("/hold?0.3000"), GET("/hold?1.20000.1"), GET("/hold?2.500"), GET("/pull?5.3000"), GET("/pull?3.16384.2"), GET("/pull?2.9"),
    "GET /pull?4.700.3 HTTP/1.0\r\n\r\n", "GET /pull?4.700 HTTP/1.0\r\n\r\n", POST("Content-Length: 9\r\n", "a=b&c=d&e"),
    CHUNKED_POST("4\r\nabcd\r\n0\r\n\r\n"), POST("Expect: 100-continue\r\nContent-Length: 4\r\n", "abcd"), GET("/wake?0"), GET("/wake?1"),
    "HEAD /page HTTP/1.1\r\n" HOST "\r\n", WITH("Connection: close\r\n"), "POST /refused HTTP/1.1\r\n" HOST FORM "Content-Length: 2\r\n\r\nxx",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "nonsense\r\n\r\n", "\r\n", "POST / HTTP/1.1\r\n" HOST FORM "Content-Length: 16384\r\n\r\n",
    GET("/fickle"), GET_FOR("/stream?1", "192.0.2.1"), GET_FOR("/stream?0.10", "192.0.2.1"), GET_FOR("/hold?0.3000", "192.0.2.2"),
    GET_FOR("/hold?1.2000.1", "192.0.2.1"), GET_FOR("/hold?2.2000.2", "192.0.2.3"), GET_FOR("/hold?2.2000", "::1"), GET_FOR("/count", "192.0.2.4")};

static int read_by_chance; /* readers that were checked */

static const char *const chance_addresses[] = {"127.0.0.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "::1",
                                               PROXY,       PROXY,       PROXY_HERE};

/* One of the callers that are still there, by chance; a new one where there are too few. */
static struct caller *any_caller(uint64_t *seed, struct caller **callers, size_t count)
{
    size_t i = random_below(seed, count);

    if (callers[i] == NULL || (!callers[i]->is_open && world.accepted == world.count)) { /* over, or never was */
        if (world.count == CALLERS) return &world.callers[random_below(seed, CALLERS)];
        callers[i] = dial(chance_addresses[random_below(seed, 8)]);
        if (random_below(seed, 3) == 0) callers[i]->room = random_below(seed, 2000);
        if (random_below(seed, 3) == 0) callers[i]->mouthful = 1 + random_below(seed, 3000);
    }
    return callers[i];
}

static void say_by_chance(uint64_t *seed, struct caller *caller)
{
    size_t count = 1 + random_below(seed, random_below(seed, 4) == 0 ? 30 : 3);

    while (count-- > 0) {
        const char *request = chance_requests[random_below(seed, sizeof chance_requests / sizeof chance_requests[0])];
        size_t length = strlen(request);
        if (count == 0 && random_below(seed, 2)) length = random_below(seed, length + 1); /* a part of it */
        say_bytes(caller, request, length);
    }
}

/* Something happens. */
static void happen(uint64_t *seed, struct caller **callers, size_t count)
{
    struct caller *caller = any_caller(seed, callers, count);
    char text[32];

    switch (random_below(seed, 16)) {
    case 0:
    case 1:
    case 2:
    case 3: say_by_chance(seed, caller); break;
    case 4:
    case 5: caller->room = random_below(seed, 3) == 0 ? ENDLESS : random_below(seed, 30000); break;
    case 6: caller->room = 0; break;
    case 7: if (random_below(seed, 3) == 0) caller->has_ended = 1; break;
    case 8: if (random_below(seed, 4) == 0) caller->is_gone = 1; break;
    case 9: caller->interrupts = (int)random_below(seed, 3); break;
    case 10:
    case 11:
        sprintf(text, "%.*s\n", (int)random_below(seed, 20), "abcdefghijklmnopqrst");
        tell(random_below(seed, CHANNELS), text);
        break;
    case 12:
        app.has_ended[random_below(seed, CHANNELS)] = random_below(seed, 3) == 0;
        app.holds_again[random_below(seed, CHANNELS)] = random_below(seed, 3) == 0;
        break;
    case 13: world.until_ms += (int64_t)random_below(seed, random_below(seed, 5) == 0 ? 30000 : 300); break;
    case 14:
        if (world.accept_error_count == 0) {
            static const int errors[] = {EMFILE, EINTR, ENOMEM, ECONNABORTED};
            world.accept_errors[world.accept_error_count++] = errors[random_below(seed, 4)];
        }
        break;
    default:
        world.poll_errors = (int)random_below(seed, 2);
        world.poll_errno = EINTR;
        app.wakes_when_taken = (int)random_below(seed, 3);
        app.is_forgettable = (int)random_below(seed, 2);
    }
}

/* How far BODY is the news of CHANNEL from the start, beats aside; a beat may be cut off. Returns whether all is. */
static int is_news(const char *body, size_t channel)
{
    const char *news = (const char *)app.news[channel];
    size_t at = 0;

    while (*body != '\0') {
        size_t left = strlen(body), beat = left < 3 ? left : 3;
        if (at < app.news_length[channel] && *body == news[at]) body++, at++;
        else if (strncmp(body, ":\n\n", beat) == 0) body += beat;
        else return 0;
    }
    return 1;
}

/* What a reader has heard must be a note, whole as long as more follows, and the news of a channel. */
static void check_reader(const struct caller *caller)
{
    const char *body = strstr((const char *)caller->heard, "Content-Type: text/event-stream\r\n\r\n");
    size_t channel = 0, note;

    if (body == NULL) return;
    body += strlen("Content-Type: text/event-stream\r\n\r\n");
    note = strspn(body, "N");
    assert_true(note == 0 || note == 10 || note == HTTP_SPAN_MAX || body[note] == '\0');
    while (channel < CHANNELS && !is_news(body + note, channel)) channel++;
    assert_true(channel < CHANNELS);
    read_by_chance++;
}

static void test_anything(void **state)
{
    static const size_t connections[] = {20, 6, 200, 1};
    struct caller *callers[24];
    uint64_t seed;
    size_t i, round;

    (void)state;
    read_by_chance = 0;
    for (round = 0; round < 200; round++) {
        seed = 7000 + round;
        memset(callers, 0, sizeof callers);
        open_server(connections[round % 4], round % 3 == 0 ? 5 : 0);
        for (i = 0; i < 2000; i++) {
            world.until_ms = world.now_ms;
            do happen(&seed, callers, 24);
            while (random_below(&seed, 3) > 0);
            assert_int_equal(http_turn(world.server, random_below(&seed, 2) ? -1 : 100), 0);
            check_world();
        }
        for (i = 0; i < world.count; i++) check_reader(&world.callers[i]);
        memset(app.has_ended, 0, sizeof app.has_ended);
        memset(app.holds_again, 0, sizeof app.holds_again);
        world.accept_error_count = world.poll_errors = app.wakes_when_taken = 0;
        close_server();
    }
    assert_true(read_by_chance > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"a request line is read strictly, however its bytes come", test_request_lines, NULL, NULL, NULL},
        {"fields and Host are read strictly, however their bytes come", test_fields, NULL, NULL, NULL},
        {"content that could be framed in two ways is refused", test_content, NULL, NULL, NULL},
        {"chunks are decoded, and refused where they are not exact", test_chunks, NULL, NULL, NULL},
        {"a request of just the allowed size is taken, one byte more is not", test_limits, NULL, NULL, NULL},
        {"each request has its limits for itself", test_limits_are_those_of_one_request, NULL, NULL, NULL},
        {"a refusal does not depend on who asked before", test_refusals_know_nothing_of_others, NULL, NULL, NULL},
        {"chunks give the same content in every split", test_decoder_in_any_split, NULL, NULL, NULL},
        {"a pipeline may be cut anywhere", test_pipelines_cut_in_two, NULL, NULL, NULL},
        {"content may come in chunks of one byte", test_chunks_of_one_byte, NULL, NULL, NULL},
        {"pipelines by chance get the same answers in any split, at any pace", test_pipelines_in_any_split, NULL, NULL, NULL},
        {"a form gives its values, and none that is there twice", test_forms, NULL, NULL, NULL},
        {"percent-encoding and back is the same for every byte", test_percent_encoding, NULL, NULL, NULL},
        {"every cookie of a name is found", test_cookies, NULL, NULL, NULL},
        {"a number is digits alone and within its limit", test_numbers, NULL, NULL, NULL},
        {"an element of a list is found in any case", test_elements, NULL, NULL, NULL},
        {"a number is written as printf does", test_digits, NULL, NULL, NULL},
        {"no control but a tab is in a value", test_bytes_of_a_value, NULL, NULL, NULL},
        {"SHA-256 is that of FIPS 180-4", test_sha256, NULL, NULL, NULL},
        {"a digest in base64 is that of RFC 4648", test_base64, NULL, NULL, NULL},
        {"Date is right from 1970 on, leap years too", test_dates, NULL, NULL, NULL},
        {"a thousand requests at once are answered in order", test_pipelining, NULL, NULL, NULL},
        {"an answer has the fields it should", test_an_answer_in_full, NULL, NULL, NULL},
        {"a connection stays open when both sides want it", test_keep_alive, NULL, NULL, NULL},
        {"HEAD gets everything but the body", test_head, NULL, NULL, NULL},
        {"who waits for 100 Continue gets it", test_continue, NULL, NULL, NULL},
        {"a request is answered once, even if its check changes its mind", test_check_may_change_its_mind, NULL, NULL, NULL},
        {"the last answer arrives although more was sent", test_closing_lingers, NULL, NULL, NULL},
        {"a client that has sent all and closed its half is answered", test_half_closed_is_answered, NULL, NULL, NULL},
        {"signals interrupt nothing", test_interrupts_change_nothing, NULL, NULL, NULL},
        {"empty lines do not keep a connection open", test_empty_lines_do_not_keep, NULL, NULL, NULL},
        {"an idle connection holds no buffer", test_idle_holds_no_buffer, NULL, NULL, NULL},
        {"the oldest incomplete request makes room when buffers run out", test_oldest_incomplete_gives_way, NULL, NULL, NULL},
        {"the oldest incomplete request is closed if it can't be told", test_oldest_incomplete_without_room_is_closed, NULL, NULL, NULL},
        {"an address that holds too many buffers loses its own", test_address_beyond_a_quarter, NULL, NULL, NULL},
        {"the oldest that takes nothing makes room when buffers run out", test_stalled_give_way_too, NULL, NULL, NULL},
        {"a note is kept whole behind waiting answers", test_notes_never_overflow, NULL, NULL, NULL},
        {"a note finds room behind another", test_a_note_behind_a_long_wait, NULL, NULL, NULL},
        {"a slow peer gets the same bytes", test_partial_sends, NULL, NULL, NULL},
        {"the page is sent from where it lies", test_lasting_body_is_sent_from_where_it_lies, NULL, NULL, NULL},
        {"a pulled answer that breaks off is known to be broken", test_pulled_answers, NULL, NULL, NULL},
        {"a long answer lets others in between", test_long_units_give_others_a_turn, NULL, NULL, NULL},
        {"many requests in a row let others in between", test_many_requests_give_others_a_turn, NULL, NULL, NULL},
        {"a reader gets the news of its channel", test_streams, NULL, NULL, NULL},
        {"a stream that is over is closed, even one without room", test_stream_ends, NULL, NULL, NULL},
        {"a silent stream gets a comment every 20 seconds", test_beat, NULL, NULL, NULL},
        {"comments go out a third at a time", test_beats_are_dealt_out, NULL, NULL, NULL},
        {"a reader that takes nothing for a minute is closed", test_stalled_stream_is_closed, NULL, NULL, NULL},
        {"a crowd of readers lets a request in between", test_fan_out_in_slices, NULL, NULL, NULL},
        {"a crowded channel lets others in between", test_channels_take_turns, NULL, NULL, NULL},
        {"news that arise while news go out go out as well", test_wake_during_service, NULL, NULL, NULL},
        {"a held request is answered when woken or when its time is over", test_held_requests, NULL, NULL, NULL},
        {"a held request waits its full time behind other answers", test_deadlines_of_held_requests_are_kept, NULL, NULL, NULL},
        {"a request may be held behind an answer that finds no room", test_held_behind_an_answer_without_room, NULL, NULL, NULL},
        {"held requests make room when buffers run out", test_held_give_up_their_buffers, NULL, NULL, NULL},
        {"many held requests may end at once", test_many_held_expire_at_once, NULL, NULL, NULL},
        {"resting connections are polled less often, and soon enough", test_resting_connections_are_polled_less_often,
         NULL, NULL, NULL},
        {"a resting connection whose request came is not idle", test_a_resting_connection_whose_request_came_is_not_idle,
         NULL, NULL, NULL},
        {"a fan-out does not poll those that rest", test_a_fan_out_does_not_poll_those_that_rest, NULL, NULL, NULL},
        {"a house at rest wakes once a second", test_a_house_at_rest_wakes_once_a_second, NULL, NULL, NULL},
        {"who asks now and then does not rest", test_who_asks_now_and_then_does_not_rest, NULL, NULL, NULL},
        {"the connection longest idle makes room for a new one", test_longest_idle_makes_room, NULL, NULL, NULL},
        {"a request on its way keeps its connection", test_a_request_on_its_way_keeps_its_connection, NULL, NULL, NULL},
        {"others make room before a proxy does", test_others_make_room_before_a_proxy, NULL, NULL, NULL},
        {"at the limit nobody who has asked makes room", test_who_has_asked_makes_no_room, NULL, NULL, NULL},
        {"a system without descriptors costs one idle connection a time",
         test_no_descriptor_costs_one_idle_connection_a_time, NULL, NULL, NULL},
        {"a newcomer hears 503 when nobody is idle", test_full_of_busy_ones, NULL, NULL, NULL},
        {"the places of those who have just gone are free", test_gone_ones_make_room, NULL, NULL, NULL},
        {"an address has its limit, loopback none", test_limit_of_an_address, NULL, NULL, NULL},
        {"addresses that must be kept do not hide those that need not", test_addresses_to_keep_do_not_hide_others, NULL,
         NULL, NULL},
        {"addresses are remembered, forgotten, and share what is left", test_addresses_are_remembered_and_forgotten, NULL, NULL, NULL},
        {"an address is read with its port and its brackets", test_addresses, NULL, NULL, NULL},
        {"the client of a proxy is the last it names, and only a proxy is believed", test_client_of_a_proxy, NULL, NULL, NULL},
        {"each request of a proxy's connection has its own client", test_each_request_has_its_client, NULL, NULL, NULL},
        {"content that comes later is its client's", test_client_of_content_that_comes_later, NULL, NULL, NULL},
        {"a proxy's own connections have no limit", test_connections_of_a_proxy_are_not_limited, NULL, NULL, NULL},
        {"streams through a proxy count for the client", test_streams_through_a_proxy_count_for_the_client, NULL, NULL, NULL},
        {"this machine and the proxy itself wait without limit", test_who_waits_without_limit, NULL, NULL, NULL},
        {"what ends counts no more, however it ends", test_what_ends_counts_no_more, NULL, NULL, NULL},
        {"only a client that waits is counted", test_only_who_waits_counts, NULL, NULL, NULL},
        {"half requests of a proxy are not those of one address", test_half_requests_of_a_proxy, NULL, NULL, NULL},
        {"half contents of a client behind a proxy take a quarter of the buffers", test_half_contents_of_a_client, NULL, NULL, NULL},
        {"clients of a proxy are forgotten like others, and share what is left", test_clients_beyond_the_table, NULL, NULL, NULL},
        {"a failing accept() is no busy loop", test_accept_fails, NULL, NULL, NULL},
        {"a flood of callers starves nobody", test_a_flood_of_callers_starves_nobody, NULL, NULL, NULL},
        {"each state ends at its time", test_deadlines, NULL, NULL, NULL},
        {"bytes one by one do not win time", test_deadlines_of_parts, NULL, NULL, NULL},
        {"the loop sleeps as long as it may", test_timeouts_of_poll, NULL, NULL, NULL},
        {"bytes that are not read yet keep nobody awake", test_unread_input_is_no_busy_loop, NULL, NULL, NULL},
        {"a reader that is gone is noticed within seconds", test_sweep_sees_everyone, NULL, NULL, NULL},
        {"those who stay are looked after when a crowd leaves", test_sweep_of_a_crowd_that_leaves, NULL, NULL, NULL},
        {"watched descriptors wake the loop", test_watches, NULL, NULL, NULL},
        {"memory is counted before it is taken", test_memory_is_counted, NULL, NULL, NULL},
        {"a failed start says why", test_open_explains_itself, NULL, NULL, NULL},
        {"a server may be closed at any time", test_close_in_the_middle, NULL, NULL, NULL},
        {"whatever callers do, nothing is lost or left behind", test_anything, NULL, NULL, NULL},
    };

    return cmocka_run_group_tests_name("http.c", tests, NULL, NULL);
}
