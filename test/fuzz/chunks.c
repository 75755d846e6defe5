/* chunks.c: chunked content (RFC 9112, 7.1) is what a plain decoder says it is, however it is cut.
 *
 * Input: how the bytes are cut, up to a byte 0xFF, then the content. */
#include "fuzz.h"

#include "../unit_http.c"

/* ---- a plain decoder: all is there, and may be looked at as often as one likes ---- */

enum { WHOLE = 0, UNFINISHED = 1 }; /* else a status that refuses it */

static struct {
    unsigned char content[HTTP_CONTENT_MAX];
    size_t length, extensions;
} plain;

static int is_text(int byte) { return byte == '\t' || (byte >= ' ' && byte != 0x7F); }

static int is_tchar(int byte) { return isalnum(byte) || (byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL); }

/* One or more bytes of a token, then something else. Returns WHOLE, UNFINISHED or 400. */
static int read_token(struct input *in)
{
    if (in->left == 0) return UNFINISHED;
    if (!is_tchar(*in->at)) return 400;
    while (in->left > 0 && is_tchar(*in->at)) (void)take_byte(in);
    return in->left > 0 ? WHOLE : UNFINISHED;
}

/* A quoted string behind its first quote, and something behind it. */
static int read_quoted(struct input *in)
{
    int is_escaped = 0, byte = 0;

    do {
        is_escaped = byte == '\\' && !is_escaped;
        if (in->left == 0) return UNFINISHED;
        byte = take_byte(in);
        if (!is_text(byte)) return 400;
    } while (byte != '"' || is_escaped);
    return in->left > 0 ? WHOLE : UNFINISHED;
}

static int read_extensions(struct input *in)
{
    int result = WHOLE;

    while (result == WHOLE && *in->at == ';') {
        (void)take_byte(in);
        if ((result = read_token(in)) != WHOLE || *in->at != '=') continue;
        (void)take_byte(in);
        if (in->left == 0) return UNFINISHED;
        if (*in->at != '"') {
            result = read_token(in);
            continue;
        }
        (void)take_byte(in);
        result = read_quoted(in);
    }
    return result;
}

static int read_crlf(struct input *in)
{
    if (in->left > 0 && take_byte(in) != '\r') return 400;
    if (in->left > 0 && take_byte(in) != '\n') return 400;
    return in->at[-1] == '\n' ? WHOLE : UNFINISHED;
}

/* 1*8HEXDIG [extensions] CRLF. The extensions of all chunks may have 4096 bytes, semicolons and line ends aside. */
static int read_size_line(struct input *in, size_t *size)
{
    const unsigned char *start = in->at;
    struct input extensions;
    int result;

    for (*size = 0; in->left > 0 && isxdigit(*in->at); in->at++, in->left--) {
        char digit[2] = {0, 0};
        digit[0] = (char)*in->at;
        if (in->at - start == 8) return 400;
        *size = *size * 16 + strtoul(digit, NULL, 16);
        if (*size > HTTP_CONTENT_MAX - plain.length) return 413;
    }
    if (in->left == 0) return UNFINISHED;
    if (in->at == start || (*in->at != ';' && *in->at != '\r')) return 400;
    extensions = *in;
    result = read_extensions(in);
    plain.extensions +=
        (size_t)(in->at - extensions.at) + (in->left > 0 && in->at > extensions.at) - (*extensions.at == ';');
    if (plain.extensions > 4096) return 400;
    return result != WHOLE ? result : read_crlf(in);
}

/* Trailer fields up to the empty line. As soon as they are over 8 KiB they are too many. */
static int read_trailer(struct input *all)
{
    struct input in = take_bytes(all, HTTP_HEAD_MAX);
    int unfinished = all->left > 0 ? 431 : UNFINISHED, result = WHOLE;

    while (in.left > 0 && *in.at != '\r') {
        result = read_token(&in);
        if (result == WHOLE && take_byte(&in) != ':') result = 400;
        if (result != WHOLE) return result == UNFINISHED ? unfinished : result;
        while (in.left > 0 && is_text(*in.at)) (void)take_byte(&in);
        result = in.left > 0 ? read_crlf(&in) : UNFINISHED;
        if (result != WHOLE) return result == UNFINISHED ? unfinished : result;
    }
    result = in.left > 0 ? read_crlf(&in) : UNFINISHED;
    if (in.left > 0 || result == WHOLE) *all = (struct input){in.at, all->left + in.left};
    return result == UNFINISHED ? unfinished : result;
}

/* Decodes IN, and leaves there what is behind it. */
static int decode_plainly(struct input *in)
{
    size_t size;
    int result;

    plain.length = plain.extensions = 0;
    if (in->left == 0) return UNFINISHED;
    for (;;) {
        struct input data;
        result = read_size_line(in, &size);
        if (result != WHOLE) return result;
        if (size == 0) return read_trailer(in);
        data = take_bytes(in, size);
        memcpy(plain.content + plain.length, data.at, data.left);
        plain.length += data.left;
        if (in->left == 0) return UNFINISHED;
        result = read_crlf(in);
        if (result != WHOLE) return result;
    }
}

/* ---- the same by http.c ---- */

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t length)
{
    struct input in = {bytes, length}, cuts = take_until(&in, 0xFF), rest = in;
    struct buffer *buffer = calloc(1, sizeof *buffer);
    int expected, result = 0;

    assert_non_null(buffer);
    expected = decode_plainly(&rest);
    while (in.left > 0 && result == 0 && buffer->chunk_state != CHUNKS_DONE) {
        size_t size = cuts.left > 0 ? (size_t)take_byte(&cuts) + 1 : in.left;
        struct input piece = take_bytes(&in, size < BUFFER_SIZE - buffer->end ? size : BUFFER_SIZE - buffer->end);
        assert_true(piece.left > 0);
        memcpy(buffer->bytes + buffer->end, piece.at, piece.left);
        buffer->end += piece.left;
        result = decode_chunks(buffer);
    }
    if (expected == WHOLE || expected == UNFINISHED) {
        assert_int_equal(result, 0);
        assert_int_equal(buffer->chunk_state == CHUNKS_DONE, expected == WHOLE);
        assert_int_equal(buffer->content_end, plain.length);
        assert_memory_equal(buffer->bytes, plain.content, plain.length);
        if (expected == WHOLE) assert_int_equal(buffer->end - buffer->raw + in.left, rest.left);
    } else {
        assert_int_equal(result, expected);
    }
    free(buffer);
    return 0;
}
