/* request.c: a request means the same however it is cut into packets and however slowly its answers are taken, and
 * what is accepted is what RFC 9110 and 9112 allow.
 *
 * Input: how the bytes are cut, up to a byte 0xFF, then what is said: to one connection whole, to another in pieces. */
#include "fuzz.h"

#include "../unit_http.c"

static int is_name(struct http_bytes name, const char *text)
{
    return name.length == strlen(text) && strncasecmp((const char *)name.at, text, name.length) == 0;
}

/* What http.h has promised of a request. */
static void check_accepted(const struct http_request *request)
{
    size_t i, j, hosts = 0, framings = 0;

    assert_true(request->minor == 0 || request->minor == 1);
    assert_true(request->field_count <= HTTP_FIELDS_MAX && request->path.length > 0);
    assert_true(request->path.at[0] == '/' || request->method == HTTP_CONNECT || request->method == HTTP_OPTIONS);
    assert_true(request->path.length + request->query.length < HTTP_HEAD_MAX);
    for (i = 0; i < request->path.length + request->query.length; i++) {
        int byte = i < request->path.length ? request->path.at[i] : request->query.at[i - request->path.length];
        assert_true(byte > ' ' && byte < 0x7F && byte != '#' && (byte != '?' || i >= request->path.length));
    }
    for (i = 0; i < request->field_count; i++) {
        struct http_bytes name = request->fields[i].name, value = request->fields[i].value;
        assert_true(name.length > 0);
        for (j = 0; j < name.length; j++) {
            assert_true(name.at[j] > ' ' && name.at[j] < 0x7F && strchr("\"(),/:;<=>?@[\\]{}", name.at[j]) == NULL);
        }
        for (j = 0; j < value.length; j++) {
            assert_true(value.at[j] == '\t' || (value.at[j] >= ' ' && value.at[j] != 0x7F));
            if (j == 0 || j + 1 == value.length) assert_true(value.at[j] != ' ' && value.at[j] != '\t');
        }
        hosts += (size_t)is_name(name, "host");
        framings += (size_t)(is_name(name, "content-length") || is_name(name, "transfer-encoding"));
    }
    assert_true(hosts <= 1 && (hosts == 1 || request->minor == 0) && framings <= 1);
}

/* The unit test's application, kept to what it can do whoever asks, and however often it is asked. */
static int judge(void *context, struct http_request *request)
{
    int is_echo = !http_equals(request->path, "/stream") && !http_equals(request->path, "/hold") &&
                  !http_equals(request->path, "/pull") && !http_equals(request->path, "/wake");

    check_accepted(request);
    if (http_equals(request->path, "/fickle")) return 0;
    if (is_echo) return app_check(context, request);
    if (number_in(request->query, 0, 0) < CHANNELS && number_in(request->query, 1, 9) - 1 < 3000) return 0;
    http_refuse(request->connection, 404, NULL, "Not so much.");
    return -1;
}

static void answer(void *context, struct http_request *request)
{
    struct http_bytes said = http_field(request, "content-length", NULL);
    uint64_t length;

    assert_true(request->content_length <= HTTP_CONTENT_MAX);
    if (said.at != NULL) {
        assert_int_equal(http_number(said, HTTP_CONTENT_MAX, &length), 0);
        assert_int_equal(length, request->content_length);
    }
    app_handle(context, request);
}

/* The next piece: 1 to 16 bytes, or some 70 to 8,500, or all that is left if nothing more is said of it. */
static struct input next_piece(struct input *cuts, struct input *text)
{
    unsigned char byte;

    if (cuts->left == 0) return take_bytes(text, text->left);
    byte = take_byte(cuts);
    return take_bytes(text, byte < 0x80 ? (size_t)(byte & 15) + 1 : (size_t)(byte & 0x7F) * 67 + 1);
}

/* Says TEXT in pieces; the answers are taken by mouthfuls and with interruptions, as the byte that cuts has it. */
static void speak(struct caller *caller, struct input cuts, struct input text)
{
    while (text.left > 0) {
        unsigned char byte = cuts.left > 0 ? *cuts.at : 0;
        struct input piece = next_piece(&cuts, &text);
        say_bytes(caller, piece.at, piece.left);
        if (!caller->is_open) continue;
        caller->interrupts = byte >> 6 & 1;
        caller->mouthful = byte & 0x20 ? 1 + (size_t)byte * 5 : 0;
        caller->room = byte & 0x10 ? (size_t)(byte & 15) * 300 : ENDLESS;
        turn();
        caller->room = ENDLESS;
        turn();
    }
    caller->mouthful = 0;
}

/* Leaves the answers "100 Continue" out: whether they come depends on the cuts. */
static void leave_interim_out(struct caller *caller)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t i, kept = 0, length = sizeof interim - 1;

    for (i = 0; i < caller->heard_length; i++) {
        if (caller->heard_length - i >= length && memcmp(caller->heard + i, interim, length) == 0) i += length - 1;
        else caller->heard[kept++] = caller->heard[i];
    }
    caller->heard_length = kept;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length)
{
    struct input text = {bytes, length}, cuts, no_cuts = {NULL, 0};
    struct caller *whole, *cut_up;
    size_t before;

    if (length > 40000) return 0;
    cuts = take_until(&text, 0xFF);
    if (text.left == 0) {
        text = cuts;
        cuts = no_cuts;
    }
    open_server(160, 0); /* with buffers enough for both: else who stalls gives way */
    world.server->app.check = judge;
    world.server->app.handle = answer;
    whole = dial("127.0.0.1"); /* loopback: an address has a quota of incomplete requests */
    cut_up = dial("127.0.0.1");
    turn();
    speak(whole, no_cuts, text);
    speak(cut_up, cuts, text);
    do { /* who is held is answered, one request after another */
        before = whole->heard_length + cut_up->heard_length;
        later(3000);
    } while (whole->heard_length + cut_up->heard_length > before);
    assert_int_equal(whole->is_open, cut_up->is_open);
    leave_interim_out(whole);
    leave_interim_out(cut_up);
    assert_int_equal(whole->heard_length, cut_up->heard_length);
    assert_memory_equal(whole->heard, cut_up->heard, whole->heard_length);
    close_server();
    return 0;
}
