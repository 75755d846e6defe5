/* unit.h: what the unit tests share: cmocka, chance, folders and files, a reader of JSON. */
#ifndef UNIT_H
#define UNIT_H

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A number below END; the same row of numbers for the same *SEED. */
static inline size_t random_below(uint64_t *seed, size_t end)
{
    uint64_t z = (*seed += 0x9E3779B97F4A7C15ULL);

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return (size_t)((z ^ z >> 31) % end);
}

static inline void make_folder(char folder[64])
{
    strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/snug-unit-XXXXXX"
                                                 : "/tmp/snug-unit-XXXXXX"); /* memory is faster */
    assert_non_null(mkdtemp(folder));
}

static inline void remove_folder(const char *folder)
{
    DIR *open_folder = opendir(folder);
    struct dirent *entry;
    char path[512];

    assert_non_null(open_folder);
    while ((entry = readdir(open_folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        assert_int_equal(remove(path), 0);
    }
    closedir(open_folder);
    assert_int_equal(rmdir(folder), 0);
}

/* All of a file, with a NUL behind; the caller frees it. *LENGTH may be NULL. */
static inline char *read_whole(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    char *bytes;
    size_t size;

    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, size, file), size);
    bytes[size] = '\0';
    fclose(file);
    if (length != NULL) *length = size;
    return bytes;
}

static inline void write_whole(const char *path, const void *bytes, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
    close(fd);
}

/* Behind the JSON value at AT (RFC 8259), NULL if there is none. */
static inline const char *json_end(const char *at)
{
    const char *words[] = {"null", "true", "false"};
    char close_with = *at == '[' ? ']' : '}';
    size_t i;

    if (*at == '"') {
        for (at++; *at != '"'; at++) {
            if ((unsigned char)*at < 0x20) return NULL;
            if (*at == '\\' && strchr("\"\\/bfnrt", *++at) == NULL) return NULL;
        }
        return at + 1;
    }
    if (*at == '-' || isdigit((unsigned char)*at)) {
        at += *at == '-';
        if (*at == '0' && isdigit((unsigned char)at[1])) return NULL;
        while (isdigit((unsigned char)*at)) at++;
        return at;
    }
    for (i = 0; i < 3; i++) {
        if (strncmp(at, words[i], strlen(words[i])) == 0) return at + strlen(words[i]);
    }
    if (*at != '[' && *at != '{') return NULL;
    at++;
    if (*at == close_with) return at + 1;
    for (;;) {
        if (close_with == '}') {
            if (*at != '"' || (at = json_end(at)) == NULL || *at++ != ':') return NULL;
        }
        if ((at = json_end(at)) == NULL) return NULL;
        if (*at == close_with) return at + 1;
        if (*at++ != ',') return NULL;
    }
}

static inline int is_json(const char *text)
{
    const char *end = json_end(text);

    return end != NULL && *end == '\0';
}

#endif
