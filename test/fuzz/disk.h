/* disk.h: a folder in memory for the fuzz targets, behind store.c's table of calls. Lock and pipes are real: fcntl() is
 * none of the table's. */
#ifndef FUZZ_DISK_H
#define FUZZ_DISK_H

#define SHELF_FD    200000        /* the first descriptor of a file here */
#define SHELF_FILES 24            /* and names, and descriptors */
#define SHELF_MAX   (1024 * 1024) /* a larger file is a full disk */

static struct {
    struct shelf_file {
        unsigned char *bytes;
        size_t length, uses; /* by names and descriptors; 0: it is free */
    } files[SHELF_FILES];
    struct {
        char name[48];
        struct shelf_file *file; /* NULL: there is no such name */
    } names[SHELF_FILES];
    struct {
        struct shelf_file *file; /* NULL: closed */
        size_t at;
    } fds[SHELF_FILES];
} shelf;

static inline const char *shelf_name(const char *path)
{
    return strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
}

/* Where the name of PATH stands; a free place if it does not. */
static inline size_t shelf_place(const char *path)
{
    size_t i, free_at = SHELF_FILES;

    for (i = 0; i < SHELF_FILES; i++) {
        if (shelf.names[i].file == NULL) free_at = i;
        else if (strcmp(shelf.names[i].name, shelf_name(path)) == 0) return i;
    }
    assert_true(free_at < SHELF_FILES);
    return free_at;
}

static inline struct shelf_file *shelf_find(const char *path) { return shelf.names[shelf_place(path)].file; }

static inline void shelf_drop(struct shelf_file **use)
{
    if (*use != NULL && --(*use)->uses == 0) (*use)->length = 0;
    *use = NULL;
}

static inline void shelf_put(const char *path, struct shelf_file *file)
{
    size_t i = shelf_place(path);

    file->uses++;
    shelf_drop(&shelf.names[i].file);
    (void)snprintf(shelf.names[i].name, sizeof shelf.names[i].name, "%s", shelf_name(path));
    shelf.names[i].file = file;
}

static inline int shelf_open(const char *path, int flags, mode_t mode)
{
    static FILE *lock_file;
    struct shelf_file *file = shelf_find(path);
    size_t i = 0;

    (void)mode;
    if (lock_file == NULL) lock_file = tmpfile();
    if (strstr(path, ".lock") != NULL) return dup(fileno(lock_file));
    errno = EEXIST;
    if (file != NULL && flags & O_EXCL) return -1;
    if (file == NULL) { /* a new one, or the folder itself, which is fsynced */
        file = shelf.files;
        while (file->uses > 0) file++;
        if (flags & O_CREAT) shelf_put(path, file);
    }
    while (shelf.fds[i].file != NULL) i++;
    assert_true(i < SHELF_FILES);
    shelf.fds[i].file = file;
    shelf.fds[i].at = 0;
    file->uses++;
    return SHELF_FD + (int)i;
}

static inline ssize_t shelf_read(int fd, void *bytes, size_t size)
{
    struct shelf_file *file = fd < SHELF_FD ? NULL : shelf.fds[fd - SHELF_FD].file;
    size_t *at = &shelf.fds[fd < SHELF_FD ? 0 : fd - SHELF_FD].at;

    if (file == NULL) return read(fd, bytes, size);
    if (size > file->length - *at) size = file->length - *at;
    if (size > 0) memcpy(bytes, file->bytes + *at, size);
    *at += size;
    return (ssize_t)size;
}

static inline ssize_t shelf_write(int fd, const void *bytes, size_t size)
{
    struct shelf_file *file = fd < SHELF_FD ? NULL : shelf.fds[fd - SHELF_FD].file;

    if (file == NULL) return write(fd, bytes, size);
    errno = ENOSPC;
    if (size > SHELF_MAX - file->length) return -1;
    if (file->bytes == NULL) file->bytes = malloc(SHELF_MAX);
    memcpy(file->bytes + file->length, bytes, size);
    file->length += size;
    return (ssize_t)size;
}

static inline int shelf_ftruncate(int fd, off_t length)
{
    assert_true((size_t)length <= shelf.fds[fd - SHELF_FD].file->length);
    shelf.fds[fd - SHELF_FD].file->length = (size_t)length;
    return 0;
}

static inline int shelf_fsync(int fd) { return shelf.fds[fd - SHELF_FD].file == NULL; }

static inline int shelf_unlink(const char *path)
{
    errno = ENOENT;
    if (shelf_find(path) == NULL) return -1;
    shelf_drop(&shelf.names[shelf_place(path)].file);
    return 0;
}

static inline int shelf_link(const char *from, const char *to)
{
    errno = EEXIST;
    if (shelf_find(to) != NULL) return -1;
    shelf_put(to, shelf_find(from));
    return 0;
}

static inline int shelf_rename(const char *from, const char *to)
{
    shelf_put(to, shelf_find(from));
    return shelf_unlink(from);
}

static inline int shelf_close(int fd)
{
    if (fd < SHELF_FD) return close(fd);
    assert_non_null(shelf.fds[fd - SHELF_FD].file);
    shelf_drop(&shelf.fds[fd - SHELF_FD].file);
    return 0;
}

/* An empty disk. */
static inline void begin_disk(void)
{
    size_t i;

    for (i = 0; i < SHELF_FILES; i++) shelf_drop(&shelf.names[i].file);
    for (i = 0; i < SHELF_FILES; i++) assert_int_equal(shelf.files[i].uses, 0); /* no descriptor was lost */
    disk.open = shelf_open;
    disk.read = shelf_read;
    disk.write = shelf_write;
    disk.ftruncate = shelf_ftruncate;
    disk.fsync = shelf_fsync;
    disk.rename = shelf_rename;
    disk.link = shelf_link;
    disk.unlink = shelf_unlink;
    disk.close = shelf_close;
}

#endif
