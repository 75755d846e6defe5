/* text.c: characters, names, texts, forms, escapes and numbers are what a plain reading of their rules says.
 *
 * Input: bytes, read as each of these. */
#include "fuzz.h"

#include "../../http.c"
#include "../unit_store.c"

static struct store_bytes store_text(const void *at, size_t length)
{
    struct store_bytes text = {at, length};

    return text;
}

static struct http_bytes http_text(const void *at, size_t length)
{
    struct http_bytes text = {at, length};

    return text;
}

/* ---- characters and names ---- */

struct traits {
    int is_utf8, has_control, has_hidden, is_blank; /* is_blank: nothing else is in it */
    size_t blanks_in_a_row;                         /* the longest row of them, or one at either end: 2 */
};

/* Reads TEXT by RFC 3629's grammar; each character is written as it is read. */
static struct traits traits_of(const unsigned char *bytes, size_t length)
{
    struct traits traits = {1, 0, 0, 1, 0};
    size_t i, size, row = 1;

    for (i = 0; i < length && traits.is_utf8; i += size) {
        unsigned char again[4];
        uint32_t point;
        size = slow_utf8(bytes + i, length - i);
        assert_int_equal(decode(bytes + i, length - i, &point), size);
        if (size == 0) traits.is_utf8 = 0;
        if (size == 0) break;
        assert_int_equal(encode(point, again), size);
        assert_memory_equal(again, bytes + i, size);
        traits.has_control |= is_control(point);
        traits.has_hidden |= is_hidden(point);
        row = is_blank(point) ? row + 1 : 0;
        traits.is_blank &= is_blank(point) || point == '\t' || point == '\n';
        if (row > traits.blanks_in_a_row) traits.blanks_in_a_row = row;
    }
    if (row + 1 > traits.blanks_in_a_row && row > 0) traits.blanks_in_a_row = row + 1;
    return traits;
}

static void check_name(const unsigned char *bytes, size_t length, int is_room)
{
    enum store_result (*make)(struct store_bytes, struct store_name *, const char **) =
        is_room ? store_room_name : store_member_name;
    struct traits given = traits_of(bytes, length), kept;
    struct store_name name, again;
    const char *reason = NULL;
    size_t i;

    if (make(store_text(bytes, length), &name, &reason) != STORE_OK) {
        assert_true(reason != NULL && reason[strlen(reason) - 1] == '.');
        if (length > STORE_NAME_MAX / 2 || is_room) return; /* in lower case it may be longer */
        assert_true(!given.is_utf8 || given.has_control || given.has_hidden || given.is_blank);
        return;
    }
    assert_true(reason == NULL && given.is_utf8 && !given.has_control && !given.has_hidden && !given.is_blank);
    kept = traits_of(name.bytes, name.length);
    assert_true(kept.is_utf8 && kept.blanks_in_a_row < 2 && name.length > 0 && name.length <= STORE_NAME_MAX);
    if (is_room) {
        assert_false(name.bytes[0] == '.' && (name.length == 1 || (name.length == 2 && name.bytes[1] == '.')));
        for (i = 0; i < name.length; i++)
            assert_true(name.bytes[i] != '/' && name.bytes[i] != '\\' && !isupper(name.bytes[i]));
    }
    assert_int_equal(make(store_text(name.bytes, name.length), &again, &reason),
                     STORE_OK); /* what is canonical stays so */
    assert_int_equal(again.length, name.length);
    assert_memory_equal(again.bytes, name.bytes, name.length);
}

/* ---- texts as JSON ---- */

/* Undoes the inside of a JSON string to OUT; only what the store escapes is an escape. Returns the length. */
static size_t undo_json(const unsigned char *at, const unsigned char *end, unsigned char *out)
{
    size_t length = 0;

    while (at < end) {
        unsigned char byte = *at++;
        assert_true(byte >= ' ' && byte != '"');
        if (byte == '\\') {
            assert_true(at < end && strchr("\"\\nt", *at) != NULL);
            byte = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
            at++;
        }
        out[length++] = byte;
    }
    return length;
}

static void check_text(const unsigned char *bytes, size_t length)
{
    unsigned char *wanted = malloc(length + 1), *found = malloc(length + 1), *json = malloc(2 * length + 1);
    struct out out = {json, 2 * length, 0};
    struct traits traits = traits_of(bytes, length);
    size_t i, kept = 0;
    int has_control = 0, is_fine;

    for (i = 0; i < length; i++) {
        if (bytes[i] == '\r' && i + 1 < length && bytes[i + 1] == '\n') continue;
        wanted[kept++] = bytes[i];
        has_control |= bytes[i] == 0x7F || (bytes[i] < ' ' && bytes[i] != '\t' && bytes[i] != '\n');
        has_control |= bytes[i] == 0xC2 && i + 1 < length && bytes[i + 1] < 0xA0;
    }
    is_fine = traits.is_utf8 && !has_control && kept <= STORE_TEXT_MAX;
    for (i = 0, traits.is_blank = 1; is_fine && i < kept; i += slow_utf8(wanted + i, kept - i)) {
        traits.is_blank &=
            wanted[i] == '\t' || wanted[i] == '\n' || traits_of(wanted + i, slow_utf8(wanted + i, kept - i)).is_blank;
    }
    assert_int_equal(put_text(&out, store_text(bytes, length)) == NULL, is_fine && !traits.is_blank);
    if (is_fine && !traits.is_blank) {
        assert_int_equal(undo_json(json, json + out.length, found), kept);
        assert_memory_equal(found, wanted, kept);
    }
    free(wanted);
    free(found);
    free(json);
}

static void check_quote(const unsigned char *bytes, size_t length)
{
    unsigned char *found = malloc(length + 1);
    char *quoted = malloc(2 * length + 2);
    size_t i, size;

    for (i = 0; i < length && (bytes[i] >= ' ' || bytes[i] == '\t' || bytes[i] == '\n'); i++) continue;
    size = store_quote(store_text(bytes, i), quoted);
    assert_true(quoted[0] == '"' && quoted[size - 1] == '"');
    assert_int_equal(undo_json((unsigned char *)quoted + 1, (unsigned char *)quoted + size - 1, found), i);
    assert_memory_equal(found, bytes, i);
    free(found);
    free(quoted);
}

/* ---- escapes, forms and numbers ---- */

/* Undoes the escapes of TEXT to OUT, and '+' if IS_FORM. Returns the length, -1 if one is broken. */
static long plain_unescape(struct input text, int is_form, unsigned char *out)
{
    long length = 0;

    while (text.left > 0) {
        unsigned char byte = take_byte(&text);
        if (byte == '+' && is_form) byte = ' ';
        if (byte == '%') {
            char digits[3] = {0, 0, 0};
            if (text.left < 2 || !isxdigit(text.at[0]) || !isxdigit(text.at[1])) return -1;
            memcpy(digits, take_bytes(&text, 2).at, 2);
            byte = (unsigned char)strtoul(digits, NULL, 16);
        }
        out[length++] = byte;
    }
    return length;
}

static void check_escapes(const unsigned char *bytes, size_t length)
{
    unsigned char *wanted = malloc(length + 1), *found = malloc(length + 1);
    char *encoded = malloc(3 * length + 1);
    long expected = plain_unescape((struct input){bytes, length}, 0, wanted);
    size_t i, size;

    assert_int_equal(http_percent_decode(http_text(bytes, length), found, length), expected);
    if (expected > 0) {
        assert_memory_equal(found, wanted, (size_t)expected);
        assert_int_equal(http_percent_decode(http_text(bytes, length), found, (size_t)expected - 1), -1);
    }
    size = http_percent_encode(http_text(bytes, length), encoded);
    assert_int_equal(strlen(encoded), size);
    for (i = 0; i < size; i++) assert_true(isalnum((unsigned char)encoded[i]) || strchr("-._~%", encoded[i]) != NULL);
    assert_int_equal(http_percent_decode(http_text(encoded, size), found, length), length);
    assert_memory_equal(found, bytes, length);
    free(wanted);
    free(found);
    free(encoded);
}

#define NAME_MAX_OF_FORM 300

/* A form gives each value there is once, or is refused. */
static void check_form(const unsigned char *bytes, size_t length)
{
    static struct {
        unsigned char bytes[NAME_MAX_OF_FORM];
        long length;
    } names[HTTP_PAIRS_MAX + 1], name, value, wanted;
    struct http_pair pair = {"text", {NULL, 0}};
    struct input form = {bytes, length};
    unsigned char *copy = malloc(length + 1);
    int count = 0, i, is_fine = 1, result;

    memcpy(copy, bytes, length);
    result = http_form(copy, length, &pair, 1);
    wanted.length = -1;
    while (form.left > 0 && is_fine) {
        struct input of_value = take_until(&form, '&'), of_name = take_until(&of_value, '=');
        if (of_name.left > NAME_MAX_OF_FORM || of_value.left > NAME_MAX_OF_FORM) goto too_long;
        name.length = plain_unescape(of_name, 1, name.bytes);
        value.length = plain_unescape(of_value, 1, value.bytes);
        is_fine = name.length >= 0 && value.length >= 0;
        if (!is_fine || name.length + value.length == 0) continue;
        for (i = 0; i < count; i++) {
            is_fine &= names[i].length != name.length || memcmp(names[i].bytes, name.bytes, (size_t)name.length) != 0;
        }
        is_fine &= count < HTTP_PAIRS_MAX;
        names[count++] = name;
        if (name.length == 4 && memcmp(name.bytes, "text", 4) == 0) wanted = value;
    }
    assert_int_equal(result, is_fine ? 0 : -1);
    if (is_fine) assert_int_equal(pair.value.at != NULL, wanted.length >= 0);
    if (is_fine && wanted.length >= 0) {
        assert_int_equal(pair.value.length, wanted.length);
        assert_memory_equal(pair.value.at, wanted.bytes, pair.value.length);
    }
too_long:
    free(copy);
}

static void check_number(const unsigned char *bytes, size_t length)
{
    char text[24] = "";
    size_t i, zeros = 0;
    uint64_t number = 0;

    for (i = 0; i < length && isdigit(bytes[i]); i++) continue;
    while (zeros + 1 < length && bytes[zeros] == '0') zeros++;
    if (i == length && length > 0 && length - zeros <= 20) {
        memcpy(text, bytes + zeros, length - zeros);
        errno = 0;
        number = strtoull(text, NULL, 10);
        if (errno == ERANGE) text[0] = '\0';
    }
    for (i = 0; i < 2; i++) {
        uint64_t found = 0, most = i == 0 ? UINT64_MAX : 60;
        int is_one = text[0] != '\0' && number <= most;
        assert_int_equal(http_number(http_text(bytes, length), most, &found), is_one ? 0 : -1);
        if (is_one) assert_int_equal(found, number);
    }
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length)
{
    if (length > 5000 || length == 0) return 0;
    check_name(bytes, length, 0);
    check_name(bytes, length, 1);
    check_text(bytes, length);
    check_quote(bytes, length);
    check_escapes(bytes, length);
    check_form(bytes, length);
    check_number(bytes, length);
    return 0;
}
