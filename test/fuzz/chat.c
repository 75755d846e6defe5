/* chat.c: the whole house under a script: callers that come, ask, stall and vanish, a disk that fills up, an fsync that
 * takes its time, signals, restarts, time.
 *
 * Input: two bytes (the options), then steps: a byte that chooses one of `steps`, and what that takes. A turn of the
 * loop follows each, unless its top bit is set.
 *
 * What must hold: all that unit_http.c checks between two turns; every stream is whole events, every array JSON; ids go
 * up by one, and one id is one message; a state counts whom it lists; what was closed well is opened without a word. */
#include "fuzz.h"

#include "../../store.c"

#include <limits.h>

/* main.c tells its operator into memory. */
static FILE *operator_file;
#undef stderr
#undef main
#define stderr operator_file
#define main   snug_main
#include "../../main.c"
#undef stderr
#undef main
#define stderr stderr
#define main   unit_main

/* Names that these and unit_http.c have both. */
#define settle settle_callers
#define tell   tell_channel
#define STREAM CALLED_STREAM
#include "../unit_http.c"
#undef settle
#undef tell
#undef STREAM

#include "disk.h"

#define TOKENS   16
#define MESSAGES 4096 /* remembered by their ids, a power of two */

static struct {
    struct chat chat;
    int random_fd, signal_fds[2];
    char *told; /* since the last start */
    size_t told_length;
    int restarts, is_full;          /* is_full: so many writes fail */
    int ask_fd, answer_fd, is_slow; /* the ends of the child that fsyncs, -1: there is none */
    int pipes[2][2], pipe_count;
    char tokens[TOKENS][TOKEN_DIGITS + 1];
    size_t token_count;
    uint64_t newest_id;
    struct {
        uint64_t id, sum;
    } messages[MESSAGES];
} house;

/* ---- its disk ---- */

static ssize_t house_write(int fd, const void *bytes, size_t size)
{
    if (fd < SHELF_FD || house.is_full == 0) return shelf_write(fd, bytes, size);
    house.is_full--;
    return shelf_write(fd, bytes, size / 2);
}

static int house_fsync(int fd)
{
    errno = EIO;
    return house.is_full > 3 ? -1 : shelf_fsync(fd);
}

static int house_pipe(int fds[2])
{
    if (pipe(fds) != 0) return -1;
    memcpy(house.pipes[house.pipe_count++ % 2], fds, 2 * sizeof fds[0]);
    return 0;
}

static pid_t house_fork(void)
{
    house.ask_fd = dup(house.pipes[0][0]);
    house.answer_fd = dup(house.pipes[1][1]);
    (void)fcntl(house.ask_fd, F_SETFL, O_NONBLOCK);
    return 4711;
}

static void kill_child(void)
{
    if (house.ask_fd < 0) return;
    (void)close(house.ask_fd);
    (void)close(house.answer_fd);
    house.ask_fd = house.answer_fd = -1;
    world.is_watch_ready = 1;
}

static pid_t house_waitpid(pid_t pid, int *status, int flags)
{
    (void)status;
    (void)flags;
    kill_child();
    return pid;
}

/* The child does what it was asked. */
static void let_child_work(void)
{
    unsigned char round;
    int errors[SYNC_TARGETS];

    if (house.ask_fd < 0 || read(house.ask_fd, &round, 1) != 1) return;
    sync_targets(house.chat.store, round, errors);
    assert_int_equal(write(house.answer_fd, errors, sizeof errors), sizeof errors);
    world.is_watch_ready = 1;
}

/* ---- its life ---- */

static struct store_time now_of_world(void)
{
    struct store_time now = {world.wall_ms, world.now_ms};

    return now;
}

static void open_house(void)
{
    if (operator_file != NULL) (void)fclose(operator_file);
    free(house.told);
    operator_file = open_memstream(&house.told, &house.told_length);
    if (open_chat(&house.chat) != 0) fail_msg("%s", (fflush(operator_file), house.told));
    strcpy(house.chat.cookie_name, "snug1");               /* the same whatever port it got */
    http_unwatch(house.chat.server, house.chat.signal_fd); /* step_signal reads it: on paper there is but one watch */
    world.server = house.chat.server;
    world.watch_fd = house.chat.sync_fd >= 0 ? house.chat.sync_fd : INT_MAX;
    world.is_watch_ready = 0;
    (void)fflush(operator_file);
}

static void begin_house(struct input *input)
{
    static const enum store_sync syncs[] = {STORE_SYNC_SECOND, STORE_SYNC_ALWAYS, STORE_SYNC_EXIT, STORE_SYNC_ALWAYS};
    struct http_calls paper = {paper_poll,  paper_accept,     paper_recv,     paper_send,  paper_sendmsg,
                               paper_fcntl, paper_setsockopt, paper_shutdown, paper_close, paper_clock};
    unsigned char sizes = take_byte(input), rates = take_byte(input);
    struct settings *settings = &house.chat.settings;
    static struct chat blank;
    FILE *random = tmpfile();
    uint64_t seed = 1;
    size_t i;

    if (blank.settings.file == NULL) {
        set_fallbacks(&blank.settings);
        strcpy(blank.own_name, "machine");
        make_page_fields(&blank);
        blank.settings.address = "127.0.0.1";
        blank.settings.port = 0;
        for (i = 0; i < 4096; i++) (void)fputc((int)random_below(&seed, 256), random);
        house.random_fd = dup(fileno(random));
        (void)fflush(random);
        (void)pipe(house.signal_fds);
        (void)fcntl(house.signal_fds[0], F_SETFL, O_NONBLOCK);
    }
    (void)fclose(random);
    memset(house.messages, 0, sizeof house.messages);
    house.restarts = house.is_full = house.is_slow = 0;
    house.token_count = house.newest_id = 0;
    house.ask_fd = house.answer_fd = -1;
    (void)lseek(house.random_fd, 0, SEEK_SET);
    memset(&world, 0, sizeof world);
    world.now_ms = 1000000;
    world.wall_ms = 1657886400000;
    net = paper;
    begin_disk();
    disk.write = house_write;
    disk.fsync = house_fsync;
    disk.pipe = house_pipe;
    disk.fork = house_fork;
    disk.waitpid = house_waitpid;
    house.chat = blank;
    house.chat.random_fd = house.random_fd;
    house.chat.signal_fd = house.signal_fds[0];
    settings->rooms = 1 + (sizes & 3);
    settings->members = sizes & 4 ? 2 : 50;
    settings->history = STORE_HISTORY_MIN;
    settings->connections = sizes & 8 ? 3 : 20;
    settings->peer = sizes & 16 ? 2 : 0;
    settings->hold_ms = sizes & 32 ? 60000 : 86400000;
    settings->sync = syncs[sizes >> 6];
    settings->rate.tokens = rates & 1 ? 2 : 0;
    settings->joins.tokens = rates & 2 ? 2 : 0;
    if (rates & 4) assert_int_equal(add_proxy(settings, "192.0.2.2"), 0);
    open_house();
}

/* ---- what is heard ---- */

static uint64_t number_behind(const char *at, const char *start)
{
    assert_int_equal(strncmp(at, start, strlen(start)), 0);
    assert_true(isdigit((unsigned char)at[strlen(start)]));
    return strtoull(at + strlen(start), NULL, 10);
}

/* MESSAGE, JSON of so many bytes, is the only one with its id, and follows LAST (0: any). Returns its id. */
static uint64_t note_message(const char *message, size_t length, uint64_t last)
{
    uint64_t id = number_behind(message, "{\"id\":"), sum = 14695981039346656037U;
    size_t i, place_of = (size_t)id % MESSAGES;

    for (i = 0; i < length; i++) sum = (sum ^ (unsigned char)message[i]) * 1099511628211U;
    if (house.messages[place_of].id == id) assert_int_equal(house.messages[place_of].sum, sum);
    house.messages[place_of].id = id;
    house.messages[place_of].sum = sum;
    assert_true(last == 0 || (house.restarts > 0 ? id > last : id == last + 1));
    return id;
}

/* One event of a stream, in a line each; LAST is the id its reader has. Returns the id it has then. */
static uint64_t check_event(char *event, uint64_t last)
{
    char *data = strstr(event, "data: ");
    const char *at;
    uint64_t count = 0, id;

    if (strcmp(event, ":") == 0 || strcmp(event, "retry: 2000") == 0) return last;
    assert_non_null(data);
    data += 6;
    assert_true(is_json(data));
    if (strncmp(event, "event: people\n", 14) == 0) {
        for (at = data; (at = strstr(at, "{\"by\":")) != NULL; at++) count++;
        assert_int_equal(number_behind(data, "{\"here\":"), count);
    }
    if (strncmp(event, "id: ", 4) != 0) return last;
    id = number_behind(event, "id: ");
    if (strstr(event, "\nevent: gap\n") != NULL) return id;
    assert_int_equal(note_message(data, strlen(data), last), id);
    return id;
}

/* The events of a stream up to its end; only one that has ended may end within an event. */
static void check_stream(char *at, int is_open)
{
    uint64_t last = 0;
    char *end;

    assert_int_equal(strncmp(at, "retry: 2000\n\nevent: you\n", strlen(at) < 24 ? strlen(at) : 24), 0);
    while ((end = strstr(at, "\n\n")) != NULL) {
        *end = '\0';
        last = check_event(at, last);
        at = end + 2;
    }
    assert_true(*at == '\0' || !is_open);
}

/* An array of messages, as far as it came. */
static void check_array(const char *at)
{
    uint64_t last = 0;

    while (*at++ != '\0' && *at == '{') {
        const char *end = json_end(at);
        if (end == NULL) break; /* cut off */
        last = note_message(at, (size_t)(end - at), last);
        at = end;
    }
}

/* A page without JavaScript is whole, and has no markup but ours: nothing that people write can begin a tag. */
static void check_plain(const unsigned char *page)
{
    static const char *const tags[] = {
        "!DOCTYPE html>", "html lang=\"en\">", "meta ", "title>", "style>", "h1 dir=\"auto\">",
        "form method", "p>", "p dir=", "label ", "input ", "br>", "a href=\"/r/", "h2>", "b>", "bdi>", "time "};
    const char *at = (const char *)page;
    size_t i;

    assert_true(strcmp(at + strlen(at) - 2, ">\n") == 0);
    while ((at = strchr(at, '<')) != NULL) {
        if (*++at == '/') continue;
        for (i = 0; i < sizeof tags / sizeof tags[0] && strncmp(at, tags[i], strlen(tags[i])) != 0; i++) continue;
        assert_true(i < sizeof tags / sizeof tags[0]);
    }
}

/* All that CALLER has heard: streams to the end, arrays that came whole. */
static void check_caller(struct caller *caller)
{
    char *at = (char *)caller->heard, *body, *stream = strstr(at, "\r\nContent-Type: text/event-stream\r\n");
    static struct answer one;

    caller->heard_at = 0;
    if (caller->peeks < 0) return;
    if (stream != NULL && (body = strstr(stream, "\r\n\r\n")) != NULL) {
        check_stream(body + 4, caller->is_open && !caller->is_shut);
        body[4] = '\0';
        caller->heard_length = (size_t)(body + 4 - at);
    }
    while (next_answer(caller, 0, &one) != 0) {
        assert_int_not_equal(one.status, 500);
        one.body[one.length] = '\0';
        if (one.is_chunked && one.is_whole && one.length > 0) assert_true(is_json((char *)one.body));
        if (one.is_whole && strstr((char *)one.body, "<h1 dir=\"auto\">") != NULL) check_plain(one.body);
        if (one.is_chunked) check_array((char *)one.body);
    }
}

/* Remembers the tokens that cookies set, and the newest id. */
static void learn(const struct caller *caller, size_t from)
{
    const char *at = (const char *)caller->heard + from, *found = at;

    for (; (found = strstr(found, "\r\nSet-Cookie: snug1=")) != NULL; found++) {
        if (strlen(found) < 20 + TOKEN_DIGITS || found[20] == ';' || house.token_count == TOKENS) continue;
        memcpy(house.tokens[house.token_count++], found + 20, TOKEN_DIGITS);
    }
    for (; (at = strstr(at, "{\"id\":")) != NULL; at++) house.newest_id = strtoull(at + 6, NULL, 10);
}

/* ---- turns ---- */

static void take_turn(void)
{
    size_t before[CALLERS], i, count = world.count;

    for (i = 0; i < count; i++) before[i] = world.callers[i].heard_length;
    if (!house.is_slow) let_child_work();
    assert_int_equal(http_turn(house.chat.server, store_tick(house.chat.store, now_of(&house.chat))), 0);
    if (house.ask_fd >= 0) world.is_watch_ready = 0;
    check_world();
    for (i = 0; i < count; i++) {
        if (world.callers[i].heard_length > before[i]) learn(&world.callers[i], before[i]);
    }
}

/* Time goes on by MS, turn by turn, as far as the loop asked. */
static void pass_time(int64_t ms)
{
    int left = 3000;

    world.until_ms = world.now_ms + ms;
    do {
        take_turn();
        assert_true(left-- > 0); /* else it is a busy loop */
    } while (world.now_ms < world.until_ms || world.found > 0);
}

/* ---- steps ---- */

static struct caller *take_caller(struct input *input)
{
    static struct caller nobody;

    return world.count == 0 ? &nobody : &world.callers[world.count - 1 - take_byte(input) % world.count];
}

static void say_more(struct caller *caller, const void *bytes, size_t length)
{
    if (world.count > 0 && !caller->has_ended && caller->said_length - caller->said_at < 100000)
        say_bytes(caller, bytes, length);
}

static void step_dial(struct input *input)
{
    if (world.count < 40) (void)dial(chance_addresses[take_byte(input) % 5]);
}

/* A request of one of these rows, from somebody in a room; a '#' in its content is the newest id. */
static void step_ask(struct input *input)
{
    static const struct {
        const char *method, *before, *behind; /* the room */
    } rows[] = {{"POST", "/r/", "/join"},     {"POST", "/r/", "/send"},   {"GET", "/r/", "/events"},
                {"GET", "/r/", "/messages"},  {"POST", "/r/", "/typing"}, {"POST", "/r/", "/leave"},
                {"GET", "/r/", ""},           {"HEAD", "/r/", "/events"}, {"GET", "/rooms", NULL},
                {"HEAD", "/r/", "/messages"}, {"GET", "/", NULL},         {"GET", "/healthz", NULL},
                {"POST", "/join", NULL},      {"GET", "/r/", "/qr"},      {"HEAD", "/", NULL},
                {"GET", "/r/", "?plain"}};
    static const char *const rooms[] = {"tea", "%C3%A4", ".h", "Tea"};
    static const char *const clients[] = {"10.1.0.1", "10.1.0.2:80", "[2001:db8::1]:80", "unknown"};
    struct caller *caller = take_caller(input);
    unsigned char row = take_byte(input), how = take_byte(input), who = take_byte(input);
    struct input content = take_until(input, 0);
    int is_post = *rows[row & 15].method == 'P', is_plain = (row & 15) == 15, length = 0;
    char form[6000], text[8000];

    for (; content.left > 0 && length < 4000; (void)take_byte(&content)) {
        if (*content.at == '#') length += sprintf(form + length, "%llu", (unsigned long long)house.newest_id);
        else form[length++] = (char)*content.at;
    }
    form[length] = '\0';
    say_more(caller, text,
             (size_t)sprintf(text, "%s %s%s%s%s%s HTTP/1.%d\r\nHost: a\r\n%s%s", rows[row & 15].method,
                             rows[row & 15].before, rows[row & 15].behind != NULL ? rooms[how & 3] : "",
                             rows[row & 15].behind != NULL ? rows[row & 15].behind : "",
                             is_post || length == 0 ? "" : is_plain ? "&" : "?", is_post ? "" : form, !(how & 4),
                             how & 8 ? "Accept: text/html\r\n" : "",
                             how & 16   ? "Connection: keep-alive\r\n"
                             : how & 32 ? "Connection: close\r\n"
                                        : ""));
    if (*rows[row & 15].method == 'H') caller->peeks = INT_MIN; /* its answers can't be told apart by eye */
    if (row & 16) say_more(caller, text, (size_t)sprintf(text, "X-Forwarded-For: 10.0.0.1, %s\r\n", clients[row >> 6]));
    if (who < house.token_count)
        say_more(caller, text,
                 (size_t)sprintf(text, "Cookie: other=1; snug1=%s\r\n", house.tokens[house.token_count - 1 - who]));
    if (how & 64)
        say_more(caller, text,
                 (size_t)sprintf(text, "Last-Event-ID: %llu\r\n", (unsigned long long)house.newest_id - (how >> 7)));
    if (is_post) say_more(caller, text, (size_t)sprintf(text, FORM "Content-Length: %d\r\n", length));
    say_more(caller, "\r\n", 2);
    if (is_post) say_more(caller, form, (size_t)length);
}

/* So long a text that a ring comes to its end. */
static void step_say_much(struct input *input)
{
    struct caller *caller = take_caller(input);
    unsigned char who = take_byte(input), length = take_byte(input);
    char text[8000];

    if (who >= house.token_count) return;
    say_more(caller, text,
             (size_t)sprintf(text,
                             "POST /r/tea/send HTTP/1.1\r\nHost: a\r\nCookie: snug1=%s\r\n" FORM
                             "Content-Length: %d\r\n\r\ntext=%0*d",
                             house.tokens[house.token_count - 1 - who], 6 + length * 15, 1 + length * 15, 0));
}

static void step_say(struct input *input)
{
    struct caller *caller = take_caller(input);
    struct input bytes = take_bytes(input, take_byte(input));

    if (bytes.left > 3 && memchr(bytes.at, 'D', bytes.left) != NULL) caller->peeks = INT_MIN; /* HEAD perhaps */
    say_more(caller, bytes.at, bytes.left);
}

static void step_end(struct input *input)
{
    struct caller *caller = take_caller(input);

    if (take_byte(input) & 1) caller->is_gone = 1;
    else caller->has_ended = 1;
}

static void step_room(struct input *input)
{
    struct caller *caller = take_caller(input);
    unsigned char byte = take_byte(input);

    caller->room = byte == 255 ? ENDLESS : (size_t)byte * byte;
    caller->interrupts = byte & 1;
}

static void step_later(struct input *input)
{
    static const int64_t ms[] = {1, 100, 250, 500, 1000, 2000, 5000, 6000, 10000, 20000, 30000, 61000};

    pass_time(ms[take_byte(input) % (sizeof ms / sizeof ms[0])]);
}

/* Time goes on at once, as when the process was stopped; or the clock on the wall is set. */
static void step_jump(struct input *input)
{
    static const int64_t seconds[] = {1, 10, 60, 90, 600, 3600, 86400, 2592000};
    unsigned char byte = take_byte(input);

    if (byte & 128) world.wall_ms += (byte - 192) * (int64_t)100000000;
    else world.now_ms += seconds[byte & 7] * 1000;
    world.until_ms = world.now_ms;
}

static void step_disk(struct input *input)
{
    unsigned char byte = take_byte(input);

    house.is_full = byte & 7;
    if (byte & 8) house.is_slow = byte >> 4 & 1;
    if (byte & 32) let_child_work();
    if (byte >= 128 && byte < 136) kill_child();
}

static void step_signal(struct input *input)
{
    unsigned char number = SIGUSR1;

    (void)input;
    (void)write(house.signal_fds[1], &number, 1);
    read_signals(&house.chat);
}

static void step_net_errors(struct input *input)
{
    static const int errors[] = {EINTR, EMFILE, ECONNABORTED, ENOBUFS};
    unsigned char byte = take_byte(input);

    if (byte & 4) world.accept_errors[world.accept_error_count = 1, 0] = errors[byte & 3];
    world.fcntl_fails = byte >> 3 & 1;
    world.poll_errors = byte >> 4 & 1;
    world.poll_errno = EINTR;
}

/* All connections end, and the server starts anew: it was stopped, killed, or lost the end of its file to a power cut.
 */
static void step_restart(struct input *input)
{
    unsigned char how = take_byte(input);
    struct shelf_file *file;

    if (house.restarts == 4) return; /* they take time */
    house.restarts++;
    http_close(house.chat.server);
    house.chat.server = NULL;
    house.is_full = 0;
    house.is_slow = 0;
    if (how & 1) {
        assert_int_equal(store_close(house.chat.store, now_of_world()), 0);
    } else {
        if (house.chat.store->rewrite.fd >= 0) (void)disk.close(house.chat.store->rewrite.fd);
        free_store(house.chat.store);
        file = shelf_find("snug.data");
        if (how & 2 && file != NULL) file->length -= how >> 2 < file->length ? (size_t)(how >> 2) : file->length;
    }
    open_house();
    assert_null(strstr(house.told, " is damaged: "));
    if (how & 1) assert_null(strstr(house.told, "torn"));
}

static void (*const steps[])(struct input *) = {
    step_dial,  step_ask,  step_ask,  step_ask,    step_say,     step_end,        step_room,     step_later,
    step_later, step_jump, step_disk, step_signal, step_restart, step_net_errors, step_say_much, step_say_much};

/* ---- the end ---- */

static void end_house(void)
{
    size_t i, j;

    house.is_full = house.is_slow = 0;
    world.accept_error_count = world.poll_errors = world.fcntl_fails = 0;
    for (i = 0; i < world.count; i++) world.callers[i].room = ENDLESS;
    pass_time(5000);
    for (i = 0; i < world.count; i++) check_caller(&world.callers[i]);
    for (i = 0; i < world.count; i++) world.callers[i].is_gone = 1;
    pass_time(5000);
    assert_int_equal(world.server->open, 0);
    assert_int_equal(world.server->free_buffer_count, world.server->buffer_count);
    for (i = 0; i < house.chat.store->rooms_used; i++) {
        const struct store_room *room = &house.chat.store->rooms[i];
        assert_int_equal(room->readers, 0);
        for (j = 0; room->name_length > 0 && j < house.chat.settings.members; j++)
            assert_true(room->members[j].by == 0 || room->members[j].waits == 0);
    }
    http_close(house.chat.server);
    house.chat.server = NULL;
    assert_int_equal(store_close(house.chat.store, now_of_world()), 0);
    open_house(); /* what it left is well */
    assert_null(strstr(house.told, "damaged"));
    assert_null(strstr(house.told, "torn"));
    http_close(house.chat.server);
    house.chat.server = NULL;
    assert_int_equal(store_close(house.chat.store, now_of_world()), 0);
    for (i = 0; i < world.count; i++) {
        assert_false(world.callers[i].is_open);
        free(world.callers[i].said);
        free(world.callers[i].heard);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length)
{
    struct input input = {bytes, length};
    int left = 300;

    if (length > 6000) return 0;
    begin_house(&input);
    while (input.left > 0 && left-- > 0) {
        unsigned char byte = take_byte(&input);
        world.until_ms = world.now_ms;
        steps[byte & 15](&input);
        world.until_ms = world.now_ms;
        if (!(byte & 0x80)) take_turn();
    }
    end_house();
    return 0;
}
