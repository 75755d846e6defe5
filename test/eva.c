/* eva.c: the parsers and decoders before Frama-C's Eva, which follows all values at once: the bytes are any bytes, and
 * what Eva can't show to be harmless it lists as an alarm. Each length up to a bound is looked at by itself, because
 * Eva keeps no relation between two variables (a pointer and the length left behind it) but by keeping states apart.
 *
 * `make eva` runs every function eva_* below and compares the alarms with eva.alarms. */
#define _XOPEN_SOURCE 700

#include <__fc_builtin.h>
#include <string.h>
#include <sys/socket.h>

/* Frama-C 25 lacks it. */
struct linger {
    int l_onoff, l_linger;
};

/* Its own are specified, not written: these tell Eva which byte was found. */
static void *find_byte(const void *bytes, int byte, size_t length)
{
    const unsigned char *at = bytes;
    size_t i;

    for (i = 0; i < length; i++) {
        if (at[i] == (unsigned char)byte) return (void *)(at + i);
    }
    return NULL;
}

static int compare_bytes(const void *a, const void *b, size_t length)
{
    /*@ assert \valid_read((const unsigned char *)a + (0 .. length - 1)); */
    /*@ assert \valid_read((const unsigned char *)b + (0 .. length - 1)); */
    return Frama_C_interval(-1, 1);
}

#define memchr find_byte
#define memcmp compare_bytes

#include "../http.c"
#include "../store.c"

/* A number from LEAST to MOST: what follows is looked at for each by itself where a `split` says so. */
static size_t one_of(size_t least, size_t most) { return Frama_C_size_t_interval(least, most); }

/* LENGTH of any bytes at BYTES. */
static void any(void *bytes, size_t length)
{
    if (length > 0) Frama_C_make_unknown(bytes, length);
}

static struct http_bytes some(unsigned char *bytes, size_t length)
{
    struct http_bytes text = {bytes, length};

    any(bytes, length);
    return text;
}

/* ---- http.c: text ---- */

#define TEXT_MAX 4

void eva_percent_decode(void)
{
    unsigned char in[TEXT_MAX], out[TEXT_MAX];
    size_t n, size;

    n = one_of(0, TEXT_MAX);
    size = one_of(0, TEXT_MAX);
    /*@ split n; */
    /*@ split size; */
    (void)http_percent_decode(some(in, n), out + TEXT_MAX - size, size);
}

void eva_percent_encode(void)
{
    unsigned char in[4];
    char out[3 * sizeof in + 1];
    size_t n;

    n = one_of(0, sizeof in);
    /*@ split n; */
    (void)http_percent_encode(some(in, n), out + 3 * (sizeof in - n));
}

void eva_number(void)
{
    unsigned char in[24];
    uint64_t number;
    size_t n;

    n = one_of(0, sizeof in);
    /*@ split n; */
    {
        (void)http_number(some(in, n), Frama_C_unsigned_long_interval(0, UINT64_MAX), &number);
    }
}

void eva_authority(void)
{
    unsigned char in[6];
    size_t n;

    n = one_of(0, sizeof in);
    /*@ split n; */
    (void)is_authority(some(in, n));
}

void eva_digest(void)
{
    unsigned char in[65], digest[HTTP_DIGEST_SIZE];
    char text[HTTP_BASE64_SIZE];
    size_t n;

    n = one_of(54, sizeof in);
    /*@ split n; */
    {
        http_sha256(some(in, n).at, n, digest);
        http_base64(digest, text);
    }
}

#define FORM_MAX 4

void eva_form(void)
{
    unsigned char in[FORM_MAX];
    struct http_pair pairs[2] = {{"a", {NULL, 0}}, {"bc", {NULL, 0}}};
    size_t n;

    n = one_of(0, FORM_MAX);
    /*@ split n; */
    any(in, n);
    (void)http_form(in, n, pairs, 2);
}

#define COOKIE_MAX 4

void eva_cookie(void)
{
    unsigned char first[COOKIE_MAX], second[COOKIE_MAX];
    struct http_request request;
    struct http_place place;
    size_t n;

    n = one_of(0, COOKIE_MAX);
    /*@ split n; */
    {
        request.field_count = 2;
        request.fields[0].name.at = request.fields[1].name.at = (const unsigned char *)"Cookie";
        request.fields[0].name.length = request.fields[1].name.length = 6;
        request.fields[0].value = some(first, n);
        request.fields[1].value = some(second, COOKIE_MAX - n);
        memset(&place, 0, sizeof place);
        while (http_cookie(&request, "ab", &place).at != NULL) continue;
    }
}

/* ---- http.c: head ---- */

static struct http_request the_request;

#define LINE_LENGTH 5
#define FIELD_LENGTH 3

/* A head that begins with any bytes. */
void eva_request_line(void)
{
    unsigned char head[LINE_LENGTH + 12];
    size_t n;

    n = one_of(0, LINE_LENGTH);
    /*@ split n; */
    {
        any(head, n);
        memcpy(head + n, " HTTP/1.0\r\n\r\n" + 1, 12);
        (void)parse_head(&the_request, head, n + 12);
    }
}

/* Any bytes between a good request line and the end. */
void eva_fields(void)
{
    static const char line[] = "GET / HTTP/1.1\r\n", end[] = "\r\n\r\n";
    unsigned char head[sizeof line + FIELD_LENGTH + sizeof end];
    size_t n;

    n = one_of(0, FIELD_LENGTH);
    /*@ split n; */
    {
        memcpy(head, line, sizeof line - 1);
        any(head + sizeof line - 1, n);
        memcpy(head + sizeof line - 1 + n, end, 4);
        (void)parse_head(&the_request, head, sizeof line - 1 + n + 4);
    }
}

/* The fields that say how the content is framed, with any bytes as values. */
void eva_framing(void)
{
    static struct http_request request;
    unsigned char length_text[4], coding[4];
    enum framing framing;
    size_t n, length;

    n = one_of(0, 4);
    /*@ split n; */
    {
        request.minor = Frama_C_interval(0, 1);
        request.field_count = Frama_C_interval(0, 2);
        request.fields[0].name.at = (const unsigned char *)"Content-Length";
        request.fields[0].name.length = 14;
        request.fields[0].value = trim(some(length_text, n));
        request.fields[1].name.at = (const unsigned char *)"Transfer-Encoding";
        request.fields[1].name.length = 17;
        request.fields[1].value = trim(some(coding, 4 - n));
        (void)parse_framing(&request, &framing, &length);
    }
}

static struct buffer the_buffer;

/* At the end of the buffer, so that a byte read too far is outside. */
void eva_head_end(void)
{
    struct buffer *in = &the_buffer;
    size_t n = one_of(0, 8), seen = one_of(0, n); /* without an end in it */

    /*@ split n; */
    /*@ split seen; */
    in->end = BUFFER_SIZE;
    in->start = BUFFER_SIZE - n;
    in->scanned = seen == 0 ? Frama_C_size_t_interval(0, in->start) : in->start + seen;
    any(in->bytes + in->start, n);
    (void)find_head_end(in);
}

/* Any bytes as chunked content, in two reads. */
void eva_chunks(void)
{
    struct buffer *in = &the_buffer;
    size_t n, rest = 2;

    n = one_of(0, 4);
    /*@ split n; */
    {
        memset(in, 0, offsetof(struct buffer, bytes));
        in->start = 3;
        in->head_length = 10;
        in->framing = CHUNKED;
        in->raw = in->content_end = 13;
        in->end = 13 + n;
        any(in->bytes, in->end + rest);
        if (read_content(in) == 0) {
            in->end += rest;
            (void)read_content(in);
        }
    }
}

/* Each state of the decoder at the end of a full buffer. */
void eva_full_buffer(void)
{
    struct buffer *in = &the_buffer;
    size_t n, left;

    n = one_of(0, 2);
    left = one_of(0, 3); /* of the chunk */
    /*@ split n; */
    /*@ split left; */
    {
        memset(in, 0, offsetof(struct buffer, bytes));
        in->start = 512;
        in->head_length = HTTP_HEAD_MAX;
        in->framing = CHUNKED;
        in->chunk_state = (enum chunk_state)Frama_C_interval(CHUNK_SIZE, LAST_LF);
        in->chunk_left = left;
        in->chunk_digits = Frama_C_size_t_interval(0, CHUNK_DIGITS);
        in->extension = Frama_C_size_t_interval(0, EXTENSION_MAX);
        in->trailer = Frama_C_size_t_interval(0, HTTP_HEAD_MAX);
        in->end = BUFFER_SIZE;
        in->raw = BUFFER_SIZE - n;
        in->content_end = in->raw - n;
        any(in->bytes + in->raw, n);
        (void)read_content(in);
    }
}

/* ---- store.c: text ---- */

static unsigned char batch_bytes[BATCH_SIZE];
static struct out the_batch = {batch_bytes, BATCH_SIZE, 0};

static struct store_bytes some_text(unsigned char *bytes, size_t length)
{
    struct store_bytes text = {bytes, length};

    any(bytes, length);
    return text;
}

/* Every character: decoded, folded, encoded again. */
void eva_characters(void)
{
    unsigned char in[5], bytes[4];
    uint32_t point;
    size_t n;

    n = one_of(1, sizeof in);
    /*@ split n; */
    {
        any(in, n);
        if (decode(in, n, &point) == 0) return;
        (void)is_blank(point);
        (void)is_hidden(point);
        (void)encode(fold(point), bytes);
    }
}

#define NAME_LENGTH 3

void eva_names(void)
{
    unsigned char in[NAME_LENGTH];
    struct store_name name;
    const char *reason;
    size_t n;

    n = one_of(0, NAME_LENGTH);
    /*@ split n; */
    {
        if (Frama_C_interval(0, 1)) (void)store_member_name(some_text(in, n), &name, &reason);
        else (void)store_room_name(some_text(in, n), &name, &reason);
    }
}

/* A name that is as long as a folded one may be, before its last bytes. */
void eva_long_name(void)
{
    unsigned char in[STORE_FOLDED_MAX + 2];
    struct store_name name;
    const char *reason;
    size_t n;

    n = one_of(0, 2);
    /*@ split n; */
    {
        memset(in, 'a', sizeof in);
        any(in + STORE_FOLDED_MAX - 1, n + 1);
        (void)store_room_name((struct store_bytes){in, STORE_FOLDED_MAX + n}, &name, &reason);
    }
}

void eva_quote(void)
{
    unsigned char in[3];
    char out[2 * sizeof in + 2];
    size_t n;

    n = one_of(0, sizeof in);
    /*@ split n; */
    (void)store_quote(some_text(in, n), out + 2 * (sizeof in - n));
}

/* A frame with any text and any name in it, behind the longest head of a record. */
void eva_frame(void)
{
    unsigned char text[2], name[1];
    size_t n;

    n = one_of(0, sizeof text);
    /*@ split n; */
    {
        the_batch.length = ROOM_RECORD_MAX;
        (void)put_frame(&the_batch, NUMBER_END - 1, INT64_MAX, NUMBER_END - 1, some_text(name, sizeof name),
                        some_text(text, n));
    }
}

/* ---- store.c: what is read from the file ---- */

static struct scan scan_of(unsigned char *bytes, size_t length)
{
    struct scan scan = {bytes, bytes + length, 0};

    any(bytes, length);
    return scan;
}

void eva_scan_numbers(void)
{
    unsigned char in[18];
    size_t n = one_of(0, sizeof in);
    struct scan scan;

    /*@ split n; */
    scan = scan_of(in, n);
    if (Frama_C_interval(0, 1)) (void)scan_id(&scan);
    else (void)scan_hex(&scan, 16);
}

void eva_scan_words(void)
{
    unsigned char in[16], text[6];
    size_t n = one_of(0, 8);
    struct scan scan;
    uint64_t by;

    /*@ split n; */
    scan = scan_of(in, n);
    skip(&scan, ",\"t\":");
    (void)scan_absence(&scan, &by);
    scan = scan_of(in, n);
    (void)scan_string(&scan, text, sizeof text);
}

void eva_scan_names(void)
{
    unsigned char in[3];
    size_t n = one_of(0, sizeof in);
    struct store_name name;
    struct scan scan;

    /*@ split n; */
    scan = scan_of(in, n);
    if (Frama_C_interval(0, 1)) scan_name(&scan, '/', 1, &name);
    else scan_last_name(&scan, 0, &name);
}

void eva_nonces(void)
{
    unsigned char in[17 + 6];
    struct nonce nonces[NONCES_MAX];
    size_t n = one_of(0, 6);
    struct scan scan;

    /*@ split n; */
    scan = scan_of(in, 17 + n);
    memcpy(in, "0123456789abcdef@", 17);
    load_nonces(&scan, nonces);
}

#define EVA_ROOMS 2
#define EVA_MEMBERS 2

static struct store the_store;
static struct store_room all_rooms[EVA_ROOMS];
static uint32_t all_room_buckets[EVA_ROOMS];
static struct store_member all_members[EVA_ROOMS * EVA_MEMBERS];
static place all_buckets[EVA_ROOMS * 2 * EVA_MEMBERS];
static unsigned char all_rings[EVA_ROOMS * (STORE_HISTORY_MIN + STORE_FRAME_MAX)];
static unsigned char all_states[EVA_ROOMS * (STATE_HEAD + EVA_MEMBERS * PERSON_MAX + TYPING_SIZE)];
static unsigned char the_window[LOAD_SIZE];
static char the_reason[STORE_REASON_SIZE];
static struct load the_load;

static void nothing_changed(void *context, size_t room)
{
    (void)context;
    /*@ assert room < EVA_ROOMS; */
}

static void nothing_told(void *context, const char *sentence)
{
    (void)context;
    (void)sentence;
}

/* An empty store before its file, the memory as lay_out gives it. */
static struct load *empty_store(void)
{
    struct store *store = &the_store;

    store->options.rooms = EVA_ROOMS;
    store->options.members = EVA_MEMBERS;
    store->options.history = STORE_HISTORY_MIN;
    store->options.changed = nothing_changed;
    store->options.tell = nothing_told;
    store->path = "snug.data";
    store->fd = store->lock_fd = store->rewrite.fd = -1;
    store->due_ms = INT64_MAX;
    make_crc_table(store->crc_table);
    store->room_bucket_count = EVA_ROOMS;
    store->member_bucket_count = EVA_MEMBERS;
    store->ring_size = STORE_HISTORY_MIN + STORE_FRAME_MAX;
    store->people_size = STATE_HEAD + EVA_MEMBERS * PERSON_MAX;
    store->rooms = all_rooms;
    store->room_buckets = all_room_buckets;
    store->all_members = all_members;
    store->all_buckets = all_buckets;
    store->all_rings = all_rings;
    store->all_states = all_states;
    store->batch = the_batch;
    the_load.store = store;
    the_load.window = the_window;
    the_load.reason = the_reason;
    return &the_load;
}

/* Any bytes as a record of KIND, which begins well: a sum may be right. */
static void any_record(enum kind kind, size_t most)
{
    struct load *load = empty_store();
    size_t head = strlen(kinds[kind]), n;

    n = one_of(0, most);
    /*@ split n; */
    {
        unsigned char *at = the_window + LOAD_SIZE - (head + n + 2);
        memcpy(at, kinds[kind], head);
        any(at + head, n);
        memcpy(at + head + n, "\n\n", 2);
        (void)load_record(load, kind, at, head + n + 2);
    }
}

void eva_room_record(void) { any_record(ROOM_RECORD, 12); }
void eva_member_record(void) { any_record(MEMBER_RECORD, 12); }
void eva_message_record(void) { any_record(MESSAGE_RECORD, 12); }
void eva_gone_record(void) { any_record(GONE_RECORD, 12); }
void eva_absent_record(void) { any_record(ABSENT_RECORD, 12); }
void eva_end_record(void) { any_record(END_RECORD, 12); }

/* Records that are well formed, with any numbers and names in them. */
static void load_text(struct load *load, enum kind kind, unsigned char *text, size_t length)
{
    struct scan scan = {text, text + length, 0};
    static int (*const loaders[KINDS])(struct load *, struct scan *) = {load_room, load_member, load_message,
                                                                           load_gone, load_absent, load_end};

    (void)loaders[kind](load, &scan);
}

static void any_digit(unsigned char *at) { *at = (unsigned char)Frama_C_interval('0', '9'); }

void eva_good_records(void)
{
    struct load *load = empty_store();
    unsigned char room[] = "1 1 1 1 1 t\n";
    unsigned char member[] = "4 1 1 0000000000000000000000000000000000000000000000000000000000000000 - t/A\n";
    unsigned char gone[] = "4 t\n", absent[] = "1 4=1 t\n", end[] = "t\n";
    unsigned char message[] = "- t\nid: 9\ndata: {\"id\":9,\"t\":1,\"by\":4,\"name\":\"A\",\"text\":\"abc\"}\n\n";

    any_digit(room);
    any_digit(room + 2);
    any_digit(room + 4);
    any_digit(room + 6);
    any_digit(room + 8);
    load_text(load, ROOM_RECORD, room, sizeof room - 1);
    any_digit(member + 2);
    any_digit(member + 4);
    load_text(load, MEMBER_RECORD, member, sizeof member - 1);
    load_text(load, MESSAGE_RECORD, message, sizeof message - 1);
    any_digit(absent);
    any_digit(absent + 4);
    load_text(load, ABSENT_RECORD, absent, sizeof absent - 1);
    any_digit(gone);
    load_text(load, GONE_RECORD, gone, sizeof gone - 1);
    load_text(load, END_RECORD, end, sizeof end - 1);
}

/* ---- store.c: the window over the file ---- */

static int reads_left = 2;

static ssize_t any_read(int fd, void *bytes, size_t size)
{
    (void)fd;
    (void)size;
    if (reads_left-- == 0) return 0;
    any(bytes, 2);
    return 2;
}

/* A file of any few bytes, in pieces. */
void eva_file(void)
{
    struct load *load = empty_store();

    disk.read = any_read;
    (void)load_file(load);
}

/* Any bytes where a record should begin, at the end of the window. */
void eva_damage(void)
{
    struct load *load = empty_store();
    size_t n = one_of(1, 6);

    /*@ split n; */
    load->start = LOAD_SIZE - n;
    load->end = LOAD_SIZE;
    load->is_eof = 1;
    any(the_window + load->start, n);
    (void)record_length(the_window + load->start, n);
    skip_damage(load);
    /*@ assert load->start <= load->end; */
}
