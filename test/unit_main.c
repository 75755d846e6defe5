/* unit_main.c: what main.c judges by itself: options, Host, Origin, routes, QR codes. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include <sys/resource.h>

static struct rlimit files;      /* the open-files limit */
static int can_raise;           /* whether setrlimit() may */

static int paper_getrlimit(struct rlimit *limit)
{
    *limit = files;
    return 0;
}

static int paper_setrlimit(const struct rlimit *limit)
{
    if (limit->rlim_max > files.rlim_max || (limit->rlim_cur > files.rlim_cur && !can_raise)) return -1;
    files = *limit;
    return 0;
}

#define getrlimit(resource, limit) paper_getrlimit(limit)
#define setrlimit(resource, limit) paper_setrlimit(limit)
#define main snug_main
#include "../main.c"
#undef main

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct http_bytes b(const char *text) { return bytes_of(text); }

/* Reads one -o as the command line does. */
static int option(struct settings *settings, const char *text)
{
    static char copies[64][64]; /* hosts are kept where they stand */
    static size_t used;
    char *copy = copies[used++ % 64];

    (void)snprintf(copy, sizeof copies[0], "%s", text);
    return read_option_list(settings, copy);
}

static void options_take_what_the_help_says(void **state)
{
    static const struct {
        const char *text;
        int result;
    } rows[] = {
        {"rooms=1", 0},          {"rooms=0", -1},       {"rooms=", -1},          {"rooms", -1},
        {"rooms=1000001", -1},   {"rooms=-1", -1},      {"rooms= 1", -1},        {"rooms=1x", -1},
        {"history=8k", 0},       {"history=8191", -1},  {"history=1g", 0},       {"history=2g", -1},
        {"history=1025m", -1},   {"history=k", -1},     {"history=1kk", -1},     {"members=2", 0},
        {"members=1", -1},       {"members=65535", 0},  {"members=65536", -1},   {"peer=off", 0},
        {"peer=0", -1},          {"rate=1/1", 0},       {"rate=off", 0},         {"rate=0/1", -1},
        {"rate=1/0", -1},        {"rate=1", -1},        {"rate=1/", -1},         {"rate=/1", -1},
        {"joins=5/60", 0},       {"hold=10", 0},        {"hold=10m", 0},         {"hold=d", -1},
        {"hold=3651d", -1},      {"sync=second", 0},    {"sync=always", 0},      {"sync=exit", 0},
        {"sync=x", -1},          {"proxy=10.0.0.1", 0}, {"proxy=::1", 0}, {"proxy=", -1}, {"proxy=localhost", -1}, {"proxy=10.0.0", -1}, {"host=chat.example", 0}, {"host=", -1},            {"host=*.x", -1},
        {"host=a b", -1},        {"host=a:80", -1},
        {"colour=red", -1},      {"", -1},              {"rooms=1,members=2", 0}, {"rooms=1,,members=2", -1},
        {"rooms=18446744073709551616", -1},
    };
    struct settings settings;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_fallbacks(&settings);
        if (option(&settings, rows[i].text) != rows[i].result) fail_msg("%s", rows[i].text);
    }
}

static void options_have_the_defaults_of_the_table(void **state)
{
    struct settings settings;

    (void)state;
    set_fallbacks(&settings);
    assert_int_equal(settings.port, 8080);
    assert_string_equal(settings.file, "snug.data");
    assert_int_equal(settings.rooms, 64);
    assert_int_equal(settings.history, 256 * 1024);
    assert_int_equal(settings.members, 256);
    assert_int_equal(settings.connections, 1024);
    assert_int_equal(settings.peer, 128);
    assert_int_equal(settings.rate.tokens, 20);
    assert_int_equal(settings.rate.period_s, 10);
    assert_int_equal(settings.joins.tokens, 20);
    assert_int_equal(settings.hold_ms, 86400000);
    assert_int_equal(option(&settings, "history=9k,hold=2h,rate=off,peer=off,connections=7"), 0);
    assert_int_equal(settings.history, 9216);
    assert_int_equal(settings.hold_ms, 7200000);
    assert_int_equal(settings.rate.tokens, 0);
    assert_int_equal(settings.peer, 0);
    assert_int_equal(settings.connections, 7);
    assert_true(settings.asked_connections);
}

static void a_host_is_answered_that_no_stranger_can_point_here(void **state)
{
    static const struct {
        const char *host;
        int accepted;
    } rows[] = {
        {"127.0.0.1", 1},        {"10.1.2.3:8080", 1},  {"[::1]", 1},           {"[fd00::2]:8080", 1},
        {"localhost", 1},        {"LOCALHOST:80", 1},   {"pi", 1},              {"pi:8080", 1},
        {"pi.local", 1},         {"Pi.Local.", 1},      {"a.b.lan:1", 1},       {"x.home", 1},
        {"x.home.arpa", 1},      {"x.internal", 1},     {"x.localdomain", 1},   {"x.localhost", 1},
        {"box.example.org", 1},  {"chat.example", 1},   {"CHAT.example:99", 1}, {"chat.example.", 1},
        {"example.org", 0},      {"evil.example", 0},   {"127.0.0.1.evil.example", 0}, {"xlocal.example", 0},
        {"1.2.3", 0},            {"local.evil", 0},     {"evillan.com", 0},     {".local", 0},
        {"a.chat.example", 0},   {"256.1.1.1", 0},
        {"localhost%2eevil%2ecom", 0},
    };
    static struct chat chat;
    char endless[300];
    size_t i;

    (void)state;
    set_fallbacks(&chat.settings);
    (void)strcpy(chat.own_name, "box.example.org");
    assert_int_equal(option(&chat.settings, "host=Chat.Example."), 0);
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (is_accepted_host(&chat, b(rows[i].host)) != rows[i].accepted) fail_msg("%s", rows[i].host);
    }
    assert_true(is_accepted_host(&chat, (struct http_bytes){NULL, 0})); /* HTTP/1.0 */
    (void)memset(endless, 'x', sizeof endless - 1);
    (void)memcpy(endless + 255, ".evil.example", sizeof ".evil.example"); /* has no dot where it would be cut */
    assert_false(is_accepted_host(&chat, b(endless)));
}

static void an_origin_must_be_the_host_and_port_that_were_asked(void **state)
{
    static const struct {
        const char *origin, *host;
        int own;
    } rows[] = {
        {"http://pi:8080", "pi:8080", 1},     {"http://PI:8080", "pi:8080", 1},  {"http://pi", "pi", 1},
        {"http://pi", "pi:80", 1},            {"https://pi", "pi", 1},           {"https://pi", "pi:443", 1},
        {"http://pi:80", "pi", 1},            {"http://[::1]:8080", "[::1]:8080", 1}, {"http://pi.", "pi", 1},
        {"HTTP://pi:8080", "pi:8080", 1},     {"HttpS://pi", "pi", 1},
        {"http://pi", "pi:8080", 0},          {"http://pi:8080", "pi", 0},       {"http://evil", "pi", 0},
        {"null", "pi", 0},                    {"", "pi", 0},                     {"http://[::2]:8080", "[::1]:8080", 0},
        {"file://pi", "pi", 0},               {"http://pi.evil", "pi", 0},       {"http://", "pi", 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (is_own_origin(b(rows[i].origin), b(rows[i].host)) != rows[i].own) {
            fail_msg("%s for %s", rows[i].origin, rows[i].host);
        }
    }
    assert_false(is_own_origin(b("http://pi"), (struct http_bytes){NULL, 0}));
}

static void a_path_finds_its_route_and_room(void **state)
{
    static const struct {
        const char *target, *path, *room; /* NULL: no match */
    } rows[] = {
        {"/r/*", "/r/tea", "tea"},        {"/r/*", "/r/", NULL},           {"/r/*", "/r", NULL},
        {"/r/*", "/r/tea/", NULL},        {"/r/*", "/r/tea/join", NULL},   {"/r/*/join", "/r/tea/join", "tea"},
        {"/r/*/join", "/r//join", NULL},  {"/r/*/join", "/r/tea/joins", NULL}, {"/r/*/join", "/R/tea/join", NULL},
        {"/rooms", "/rooms", ""},         {"/rooms", "/rooms/", NULL},     {"/", "/", ""},
        {"/", "//", NULL},                {"/r/*", "/r/%41%2F", "%41%2F"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_bytes room;
        int found = matches(rows[i].target, b(rows[i].path), &room);
        if (found != (rows[i].room != NULL)) fail_msg("%s against %s", rows[i].path, rows[i].target);
        if (found && room.at != NULL) assert_true(http_equals(room, rows[i].room));
        if (found && room.at == NULL) assert_string_equal(rows[i].room, "");
    }
}

static void waiting_takes_a_number_and_is_capped(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t wait_s;
    } rows[] = {{"0", 0, 0},   {"1", 0, 1},  {"60", 0, 60}, {"61", 0, 60}, {"99999999999999999999999", 0, 60},
                {"007", 0, 7}, {"", -1, 0},  {"-1", -1, 0}, {"1s", -1, 0}, {"1.5", -1, 0}};
    uint64_t wait_s;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(read_wait(b(rows[i].text), &wait_s), rows[i].result);
        if (rows[i].result == 0) assert_int_equal(wait_s, rows[i].wait_s);
    }
    assert_int_equal(read_wait((struct http_bytes){NULL, 0}, &wait_s), 0);
    assert_int_equal(wait_s, 0);
}

static void the_last_event_id_is_absent_a_number_or_unreadable(void **state)
{
    (void)state;
    assert_int_equal(read_after((struct http_bytes){NULL, 0}).kind, STORE_AFTER_NONE);
    assert_int_equal(read_after(b("")).kind, STORE_AFTER_NONE);
    assert_int_equal(read_after(b("12")).kind, STORE_AFTER_ID);
    assert_int_equal(read_after(b("12")).id, 12);
    assert_int_equal(read_after(b("x")).kind, STORE_AFTER_UNREADABLE);
    assert_int_equal(read_after(b("18446744073709551616")).kind, STORE_AFTER_UNREADABLE);
}

static void the_page_carries_the_digests_of_its_script_and_style(void **state)
{
    static struct chat chat;

    (void)state;
    unpack_page(chat.page);
    make_page_fields(&chat);
    assert_int_equal(strlen(chat.etag), 18);
    assert_non_null(strstr(chat.page_fields, chat.etag));
    assert_null(strstr(chat.page_fields, "'sha256-'"));
    assert_non_null(strstr(chat.plain_policy, "style-src 'sha256-"));
    assert_int_equal(strcmp(chat.plain_policy + strlen(chat.plain_policy) - 2, "\r\n"), 0);
    assert_int_equal(strcmp(chat.page_fields + strlen(chat.page_fields) - 2, "\r\n"), 0);
}

/* TEXT as HTML where SIZE bytes are left. */
static const char *escaped(const char *text, size_t size)
{
    static char page[PLAIN_MAX];
    struct html html;

    html.size = size + 3;
    html.length = 0;
    html.is_full = 0;
    html.text = page;
    add_html(&html, "<p>");
    add_text(&html, (const unsigned char *)text, strlen(text));
    assert_true(html.length <= html.size);
    html.text[html.length] = '\0';
    return page + 3;
}

static void what_people_write_becomes_text_in_html(void **state)
{
    static const struct {
        const char *text, *html;
    } rows[] = {
        {"", ""},
        {"hi there", "hi there"},
        {"<script>hit()</script>", "&lt;script&gt;hit()&lt;/script&gt;"},
        {"\"><img src=x onerror='hit()'>", "&quot;&gt;&lt;img src=x onerror=&#39;hit()&#39;&gt;"},
        {"&amp; &lt;", "&amp;amp; &amp;lt;"},
        {"a\n\n b\tc", "a<br><br> b\tc"},
        {"<!-- --> ]]> &#60;", "&lt;!-- --&gt; ]]&gt; &amp;#60;"},
        {"\303\251\346\274\242\360\237\231\202", "\303\251\346\274\242\360\237\231\202"},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) assert_string_equal(escaped(rows[i].text, 999), rows[i].html);
    for (i = 1; i < 128; i++) { /* nothing else of ASCII is changed, and these never stand as they are */
        const char text[] = {(char)i, '\0'};
        assert_int_equal(strcmp(escaped(text, 999), text) != 0, strchr("&<>\"'\n", (int)i) != NULL);
    }
}

static void what_does_not_fit_is_cut_between_characters(void **state)
{
    static const char text[] = "a&\303\251<\346\274\242\n\360\237\231\202z";
    static const char *const parts[] = {"a",    "&amp;", "\303\251",         "&lt;", "\346\274\242",
                                        "<br>", "\360\237\231\202", "z"};
    char wanted[64];
    size_t size, i;

    (void)state;
    for (size = 0; size < 40; size++) {
        wanted[0] = '\0';
        for (i = 0; i < 8 && strlen(wanted) + strlen(parts[i]) <= size; i++) (void)strcat(wanted, parts[i]);
        assert_string_equal(escaped(text, size), wanted);
    }
}

static void connections_fit_the_open_files(void **state)
{
    static const struct {
        rlim_t soft, hard;
        int can_raise, asked, result;
        size_t connections;
        rlim_t soft_then;
    } rows[] = {
        {1024, 4096, 1, 0, 0, 1024, 1056}, {2000, 2000, 1, 0, 0, 1024, 2000}, {512, 512, 1, 0, 0, 480, 512},
        {256, 512, 1, 0, 0, 480, 512},     {512, 512, 1, 1, -1, 1024, 512},   {32, 32, 1, 0, -1, 1024, 32},
        /* a sandbox may forbid it, whatever the limit is */
        {1024, 4096, 0, 0, 0, 992, 1024},  {1024, RLIM_INFINITY, 0, 0, 0, 992, 1024}, {1024, 4096, 0, 1, -1, 1024, 1024},
        {256, 512, 0, 0, 0, 224, 256},
    };
    struct settings settings;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_fallbacks(&settings);
        files.rlim_cur = rows[i].soft;
        files.rlim_max = rows[i].hard;
        can_raise = rows[i].can_raise;
        settings.asked_connections = rows[i].asked;
        assert_int_equal(fit_connections(&settings), rows[i].result);
        if (settings.connections != rows[i].connections) fail_msg("row %zu: %zu connections", i, settings.connections);
        assert_int_equal(files.rlim_cur, rows[i].soft_then);
    }
}

/* ---- QR codes ---- */

static void a_qr_format_and_version_are_spelled_as_the_standard_lists_them(void **state)
{
    static const unsigned formats[] = {0x5412, 0x5125, 0x5E7C, 0x5B4B, 0x45F9, 0x40CE, 0x4F97, 0x4AA0};
    static const unsigned versions[] = {0x07C94, 0x085BC, 0x09A99, 0x0A4D3, 0x0BBF6, 0x0C762,
                                        0x0D847, 0x0E60D, 0x0F928, 0x10B78, 0x1145D}; /* from 7 on */
    unsigned i;

    (void)state;
    for (i = 0; i < 8; i++) assert_int_equal(add_bch(i, 10, 0x537) ^ 0x5412, formats[i]);
    for (i = 0; i < 11; i++) assert_int_equal(add_bch(i + 7, 12, 0x1F25), versions[i]);
}

static void a_qr_block_is_checked_as_in_the_standards_example(void **state)
{
    static const unsigned char data[] = {0x10, 0x20, 0x0C, 0x56, 0x61, 0x80, 0xEC, 0x11,
                                         0xEC, 0x11, 0xEC, 0x11, 0xEC, 0x11, 0xEC, 0x11}; /* annex I */
    static const unsigned char expected[] = {0xA5, 0x24, 0xD4, 0xC1, 0xED, 0x36, 0xC7, 0x87, 0x2C, 0x55};
    unsigned char check[sizeof expected];

    (void)state;
    make_check(data, sizeof data, check, sizeof check);
    assert_memory_equal(check, expected, sizeof expected);
}

static void a_qr_code_is_what_other_encoders_draw(void **state)
{
    static const char *const rows[] = {
        "#######.#####.#######", "#.....#.##....#.....#", "#.###.#.#.#...#.###.#", "#.###.#..#.##.#.###.#",
        "#.###.#.#####.#.###.#", "#.....#..##...#.....#", "#######.#.#.#.#######", ".........##..........",
        "#..######.##.#..#.###", "###.......#.#.##.###.", "...##.#...###.#..####", "#.#..#..#.#.##.#..#..",
        "###.#.#.#..###.....#.", "........#....#..####.", "#######.#.###..##.#..", "#.....#.####..##.####",
        "#.###.#.#.......#..#.", "#.###.#.#.##.##..##..", "#.###.#..#.##..######", "#.....#.......#.#.###",
        "#######.##..#.##.#..."};
    struct qr qr;
    char line[22];
    int x, y;

    (void)state;
    assert_int_equal(make_qr(&qr, "http://pi/r/a"), 0);
    assert_int_equal(qr.side, 21);
    for (y = 0; y < 21; y++) {
        for (x = 0; x < 21; x++) line[x] = is_dark(&qr, x, y) ? '#' : '.';
        line[21] = '\0';
        assert_string_equal(line, rows[y]);
    }
}

/* FNV-1a of the code of COUNT letters, line by line. */
static uint32_t sum_of_qr(size_t count, int version)
{
    uint32_t sum = 2166136261U;
    char text[512];
    struct qr qr;
    size_t i;

    for (i = 0; i < count; i++) text[i] = "abcdefghijklmnopqrstuvwxyz"[i % 26];
    text[count] = '\0';
    assert_int_equal(make_qr(&qr, text), 0);
    assert_int_equal(qr.side, 17 + 4 * version);
    for (i = 0; i < (size_t)(qr.side * qr.side); i++) sum = (sum ^ (qr.modules[i] & DARK)) * 16777619U;
    return sum;
}

/* The sums are those of Nayuki's encoder and, the mask given, of npm's qrcode. */
static void every_qr_version_holds_what_the_standard_says_and_is_drawn_as_others_do(void **state)
{
    static const struct {
        size_t most; /* letters: table 7 */
        uint32_t least_sum, most_sum;
    } rows[] = {
        {14, 0xF80AD171, 0xA0B1FD2D}, {26, 0x89612367, 0x760DA6E3}, {42, 0x2A348936, 0xC0CC4B32},
        {62, 0x1D47A4F8, 0x64F07040}, {84, 0x4F17578F, 0x3FCA4F27}, {106, 0x1A25B162, 0x8E12C116},
        {122, 0xBFFF9A4B, 0x8FABAFE5}, {152, 0x73F564D3, 0x9470B40D}, {180, 0x7A488B2F, 0xBB3DE599},
        {213, 0x4AEFF989, 0x6067C0E3}, {251, 0x1E6C813D, 0xB22F4B15}, {287, 0x30EE0861, 0xB93468A5},
        {331, 0x26AD927B, 0x57790495}, {362, 0xB6BC7623, 0xC91AFA89}, {412, 0x30EDCCE5, 0xC173E297},
        {450, 0xC89A01EE, 0x949A0024}, {504, 0x97E6FED1, 0x4C488715}};
    char text[506];
    struct qr qr;
    int i;

    (void)state;
    for (i = 0; i < QR_VERSION_MAX; i++) {
        if (sum_of_qr(i == 0 ? 1 : rows[i - 1].most + 1, i + 1) != rows[i].least_sum) fail_msg("least of %d", i + 1);
        if (sum_of_qr(rows[i].most, i + 1) != rows[i].most_sum) fail_msg("most of %d", i + 1);
    }
    (void)memset(text, 'a', 505);
    text[505] = '\0';
    assert_int_equal(make_qr(&qr, text), -1);
}

static void a_qr_mask_is_the_one_that_others_choose(void **state)
{
    static const struct {
        const char *text;
        unsigned mask;
    } rows[] = {{"http://pi/r/37", 0},    /* the first of two that cost the same */
                {"http://pi/r/313", 4},   /* it is the balance of dark and light that decides */
                {"http://pi/r/1066", 6}}; /* which it did if it counted for more */
    struct qr qr, masked;
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(make_qr(&qr, rows[i].text), 0);
        masked = qr;
        draw_format(&masked, rows[i].mask);
        assert_memory_equal(masked.modules, qr.modules, sizeof qr.modules);
    }
}

static void a_qr_picture_stops_where_its_room_ends(void **state)
{
    char text[SVG_SIZE + 1], less[SVG_SIZE];
    struct qr qr;
    size_t length, size;
    int i;

    (void)state;
    assert_int_equal(make_qr(&qr, "http://pi/r/a"), 0);
    length = draw_svg(&qr, "http://pi/r/a", text, SVG_SIZE);
    assert_int_equal(strlen(text), length);
    for (size = 0; size < length + 20; size++) {
        (void)memset(less, 'x', sizeof less);
        if (draw_svg(&qr, "http://pi/r/a", less, size) != 0) assert_string_equal(less, text);
        assert_int_equal(less[size], 'x');
    }
    assert_int_equal(draw_svg(&qr, "http://pi/r/a", less, length + 20), length);
    /* no address makes it, but a chessboard would be longer than an answer may be */
    draw_patterns(&qr, QR_VERSION_MAX);
    for (i = 0; i < qr.side * qr.side; i++) qr.modules[i] = (unsigned char)(i % 2);
    text[SVG_SIZE] = 'x';
    assert_int_equal(draw_svg(&qr, "", text, SVG_SIZE), 0);
    assert_int_equal(text[SVG_SIZE], 'x');
}

static void a_host_of_the_askers_own_machine_is_no_address_for_others(void **state)
{
    static const struct {
        const char *host;
        int is_loopback;
    } rows[] = {
        {"localhost", 1},     {"LocalHost.:8080", 1}, {"pi.localhost", 1},      {"127.0.0.1:8080", 1},
        {"127.9.9.9", 1},     {"127.0.0.1.", 1},      {"0.0.0.0", 1},           {"[::1]", 1},
        {"[::1]:8080", 1},    {"[0:0:0::1]", 1},      {"[::]:80", 1},           {"[::ffff:127.0.0.1]", 1},
        {"", 0},              {"pi", 0},              {"localhosts", 0},        {"xlocalhost", 0},
        {"localhost.lan", 0}, {"10.127.0.1", 0},      {"128.0.0.1", 0},         {"[fd00::1]", 0},
        {"[::2]", 0},         {"[1::]", 0},           {"[::ffff:10.0.0.1]", 0}, {"127", 0},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (is_loopback_host(b(rows[i].host)) != rows[i].is_loopback) fail_msg("%s", rows[i].host);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_take_what_the_help_says),
        cmocka_unit_test(options_have_the_defaults_of_the_table),
        cmocka_unit_test(a_host_is_answered_that_no_stranger_can_point_here),
        cmocka_unit_test(an_origin_must_be_the_host_and_port_that_were_asked),
        cmocka_unit_test(a_path_finds_its_route_and_room),
        cmocka_unit_test(waiting_takes_a_number_and_is_capped),
        cmocka_unit_test(the_last_event_id_is_absent_a_number_or_unreadable),
        cmocka_unit_test(what_people_write_becomes_text_in_html),
        cmocka_unit_test(what_does_not_fit_is_cut_between_characters),
        cmocka_unit_test(connections_fit_the_open_files),
        cmocka_unit_test(the_page_carries_the_digests_of_its_script_and_style),
        cmocka_unit_test(a_qr_format_and_version_are_spelled_as_the_standard_lists_them),
        cmocka_unit_test(a_qr_block_is_checked_as_in_the_standards_example),
        cmocka_unit_test(a_qr_code_is_what_other_encoders_draw),
        cmocka_unit_test(every_qr_version_holds_what_the_standard_says_and_is_drawn_as_others_do),
        cmocka_unit_test(a_qr_mask_is_the_one_that_others_choose),
        cmocka_unit_test(a_qr_picture_stops_where_its_room_ends),
        cmocka_unit_test(a_host_of_the_askers_own_machine_is_no_address_for_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
