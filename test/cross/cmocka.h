/* cmocka.h: as much of cmocka as our unit tests use, for machines that Debian has no cmocka for: test/cross/cross. */
#ifndef CMOCKA_H
#define CMOCKA_H

#include <inttypes.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
    int (*set_up)(void **state);
    int (*tear_down)(void **state);
    void *state;
};

static jmp_buf end_of_test;
static char failure[512]; /* why it ended */

static inline void fail_at(const char *file, int line, const char *format, ...)
{
    size_t length = (size_t)snprintf(failure, 256, "%s:%d: ", file, line);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(failure + length, sizeof failure - length, format, arguments);
    va_end(arguments);
    longjmp(end_of_test, 1);
}

static inline void assert_numbers(const char *file, int line, const char *text, uint64_t one, uint64_t other, int is_same)
{
    if ((one == other) != is_same) fail_at(file, line, "%s: %" PRIx64 ", %" PRIx64, text, one, other);
}

static inline void assert_bytes(const char *file, int line, const char *text, const void *one, const void *other,
                                size_t length)
{
    if (memcmp(one, other, length) != 0) fail_at(file, line, "%s: other bytes", text);
}

static inline void assert_strings(const char *file, int line, const char *one, const char *other)
{
    if (strcmp(one, other) != 0) fail_at(file, line, "\"%s\" is not \"%s\"", one, other);
}

static inline void assert_between(const char *file, int line, uint64_t value, uint64_t least, uint64_t most)
{
    if (value < least || value > most)
        fail_at(file, line, "%" PRIu64 " is not in %" PRIu64 " to %" PRIu64, value, least, most);
}

/* As cmocka compares: as the largest unsigned number, and a pointer as one. */
#define NUMBER(value) ((uint64_t)(value))
#define POINTER(value) ((uint64_t)(uintptr_t)(value))
#define fail_msg(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(c) assert_numbers(__FILE__, __LINE__, #c, NUMBER((c) ? 1 : 0), 1, 1)
#define assert_false(c) assert_numbers(__FILE__, __LINE__, #c, NUMBER((c) ? 1 : 0), 0, 1)
#define assert_null(p) assert_numbers(__FILE__, __LINE__, #p, POINTER(p), 0, 1)
#define assert_non_null(p) assert_numbers(__FILE__, __LINE__, #p, POINTER(p), 0, 0)
#define assert_int_equal(a, b) assert_numbers(__FILE__, __LINE__, #a " == " #b, NUMBER(a), NUMBER(b), 1)
#define assert_int_not_equal(a, b) assert_numbers(__FILE__, __LINE__, #a " != " #b, NUMBER(a), NUMBER(b), 0)
#define assert_ptr_equal(a, b) assert_numbers(__FILE__, __LINE__, #a " == " #b, POINTER(a), POINTER(b), 1)
#define assert_ptr_not_equal(a, b) assert_numbers(__FILE__, __LINE__, #a " != " #b, POINTER(a), POINTER(b), 0)
#define assert_memory_equal(a, b, size) assert_bytes(__FILE__, __LINE__, #a " == " #b, a, b, size)
#define assert_string_equal(a, b) assert_strings(__FILE__, __LINE__, a, b)
#define assert_in_range(a, least, most) assert_between(__FILE__, __LINE__, NUMBER(a), NUMBER(least), NUMBER(most))

#define cmocka_unit_test(test) {#test, test, NULL, NULL, NULL}
#define cmocka_run_group_tests(tests, up, down) run_tests(tests, sizeof(tests) / sizeof((tests)[0]))
#define cmocka_run_group_tests_name(name, tests, up, down) run_tests(tests, sizeof(tests) / sizeof((tests)[0]))

/* Whether NAME begins like one of those that LEAVE_OUT lists, with commas between. */
static inline int is_left_out(const char *name)
{
    const char *at = getenv("LEAVE_OUT");

    for (; at != NULL && *at != '\0'; at += strcspn(at, ","), at += *at == ',') {
        size_t length = strcspn(at, ",");
        if (length > 0 && strncmp(name, at, length) == 0) return 1;
    }
    return 0;
}

static int run_tests(const struct CMUnitTest *tests, size_t count)
{
    static size_t i, failed; /* lasting: longjmp() comes back here */
    static void *state;

    printf("1..%zu\n", count);
    for (i = 0; i < count; i++) {
        int is_failed;

        if (is_left_out(tests[i].name)) {
            printf("# %s is left out here\n", tests[i].name);
            continue;
        }
        is_failed = setjmp(end_of_test);
        if (is_failed == 0) {
            state = tests[i].state;
            if (tests[i].set_up != NULL) assert_int_equal(tests[i].set_up(&state), 0);
            tests[i].run(&state);
        }
        if (tests[i].tear_down != NULL) (void)tests[i].tear_down(&state);
        printf("%sok %zu - %s\n", is_failed ? "not " : "", i + 1, tests[i].name);
        if (is_failed) printf("  %s\n", failure);
        fflush(stdout);
        failed += is_failed != 0;
    }
    return (int)failed;
}

#endif
