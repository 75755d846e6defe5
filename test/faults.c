/* faults.c: makes the server's system calls fail while it runs. The linker puts these functions in front of the calls:
 * --wrap=NAME for every line here that begins with WRAP(TYPE, NAME, see the Makefile.
 *
 * What fails stands in a file of SLOTS slots, which SNUG_FAULTS names, the server maps and faults.mjs writes while the
 * server runs. A call looks through the slots that mean it; the first that is due makes it fail. */
#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700
#endif

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 64
#define FILES 4096  /* descriptors whose kind is known */
#define PARTS_MAX 8 /* of a message to send */

/* As faults.mjs writes it. */
struct slot {
    char call[16];  /* its name and a NUL; "": any call */
    char kind[12];  /* of its descriptor or path, see kind_of_path; "": any */
    int32_t who;    /* 0: any process, 1: the server, 2: its children */
    int32_t left;   /* calls that are still to fail; -1: all; 0: they are counted alone */
    int32_t error;  /* errno; 0: the call does its work, on `length` bytes at most */
    int32_t length;
    int32_t skip;   /* calls that pass first */
    int32_t every;  /* of those that could fail one in so many does; 0: all */
    int32_t calls;  /* that were meant */
    int32_t struck; /* of them, those made to fail or cut short */
    int32_t unused;
};

typedef char slots_fill_a_page[sizeof(struct slot) * SLOTS == 4096 ? 1 : -1];

/* Declares the true call and begins its stand-in. */
#define WRAP(type, name, parameters) \
    type __real_##name parameters;   \
    type __wrap_##name parameters;   \
    type __wrap_##name parameters

int __real_open(const char *path, int flags, ...);
int __real_close(int fd);

/* ---- which calls fail ---- */

static volatile struct slot *slots; /* NULL: nothing is asked for, or not mapped yet */
static pid_t server;
static const char *kinds[FILES]; /* of open descriptors; NULL: not known */

/* The first call maps them: then there is neither another process nor a signal. */
static void map_slots(void)
{
    const char *path = getenv("SNUG_FAULTS");
    int fd = path != NULL ? __real_open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    server = getpid();
    if (page != MAP_FAILED) slots = page;
    if (fd >= 0) (void)__real_close(fd);
}

static const char *kind_of_path(const char *path)
{
    const char *dot = strrchr(path, '.');
    struct stat status;

    if (strcmp(path, "/dev/urandom") == 0) return "device";
    if (fstatat(AT_FDCWD, path, &status, 0) == 0 && S_ISDIR(status.st_mode)) return "folder";
    if (dot != NULL && strcmp(dot, ".new") == 0) return "new";
    return dot != NULL && strcmp(dot, ".lock") == 0 ? "lock" : "file";
}

static int keep_kind(int fd, const char *kind)
{
    if (fd >= 0 && fd < FILES) kinds[fd] = kind;
    return fd;
}

static int is_meant(const volatile struct slot *slot, const char *call, const char *kind)
{
    if (slot->call[0] != '\0' && strcmp((const char *)slot->call, call) != 0) return 0;
    if (slot->who != 0 && (slot->who == 1) != (getpid() == server)) return 0;
    return slot->kind[0] == '\0' || (kind != NULL && strcmp((const char *)slot->kind, kind) == 0);
}

/* Whether this call, which SLOT means, fails. */
static int is_due(volatile struct slot *slot)
{
    slot->calls++;
    if (slot->left == 0) return 0;
    if (slot->skip > 0) {
        slot->skip--;
        return 0;
    }
    if (slot->every > 1 && slot->calls % slot->every != 0) return 0;
    if (slot->left > 0) slot->left--;
    slot->struck++;
    return 1;
}

/* The fault that strikes CALL on FD or, if not NULL, PATH; NULL: none does. */
static const volatile struct slot *strike(const char *call, int fd, const char *path)
{
    const volatile struct slot *found = NULL;
    const char *kind;
    int error = errno, i;

    if (server == 0) map_slots();
    if (slots == NULL) return NULL;
    kind = path != NULL ? kind_of_path(path) : fd >= 0 && fd < FILES ? kinds[fd] : NULL;
    for (i = 0; i < SLOTS; i++) {
        if (is_meant(&slots[i], call, kind) && is_due(&slots[i]) && found == NULL) found = &slots[i];
    }
    errno = error;
    return found;
}

static int fails(const char *call, int fd, const char *path)
{
    const volatile struct slot *slot = strike(call, fd, path);

    if (slot != NULL) errno = slot->error;
    return slot != NULL;
}

/* Likewise for a call that moves *SIZE bytes: they may become fewer instead. */
static int fails_or_cuts(const char *call, int fd, size_t *size)
{
    const volatile struct slot *slot = strike(call, fd, NULL);

    if (slot == NULL) return 0;
    if (slot->error != 0) errno = slot->error;
    else if ((size_t)slot->length < *size) *size = (size_t)slot->length;
    return slot->error != 0;
}

/* The stand-in's body: CALL fails with errno, or is made on ARGUMENTS. */
#define FAIL(call, fd, path, arguments) { return fails(#call, fd, path) ? -1 : __real_##call arguments; }
#define FAIL_NULL(call, path, arguments) { return fails(#call, -1, path) ? NULL : __real_##call arguments; }
#define CUT(call, arguments) { return fails_or_cuts(#call, fd, &size) ? -1 : __real_##call arguments; }

/* ---- sockets ---- */

/* Without descriptors it only sleeps, and needs nothing that could be short. */
WRAP(int, poll, (struct pollfd *fds, nfds_t count, int timeout_ms))
{
    return count > 0 && fails("poll", -1, NULL) ? -1 : __real_poll(fds, count, timeout_ms);
}

/* Some errors take the connection with them. */
WRAP(int, accept, (int fd, struct sockaddr *address, socklen_t *length))
{
    const volatile struct slot *slot = strike("accept", fd, NULL);
    int error = slot != NULL ? slot->error : 0, accepted;

    if (error == 0) return keep_kind(__real_accept(fd, address, length), "socket");
    if (error == ECONNABORTED || error == EPROTO || error == EPERM) {
        accepted = __real_accept(fd, address, length);
        if (accepted < 0) return -1;
        (void)__real_close(accepted);
    }
    errno = error;
    return -1;
}

WRAP(ssize_t, recv, (int fd, void *bytes, size_t size, int flags)) CUT(recv, (fd, bytes, size, flags))
WRAP(ssize_t, send, (int fd, const void *bytes, size_t size, int flags)) CUT(send, (fd, bytes, size, flags))

WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))
{
    struct msghdr some = *message;
    struct iovec parts[PARTS_MAX];
    size_t left = 0, i;

    if (some.msg_iovlen > PARTS_MAX) abort(); /* then PARTS_MAX is to grow */
    for (i = 0; i < some.msg_iovlen; i++) left += some.msg_iov[i].iov_len;
    if (fails_or_cuts("sendmsg", fd, &left)) return -1;
    for (i = 0; i < some.msg_iovlen; i++) {
        parts[i] = some.msg_iov[i];
        if (parts[i].iov_len > left) parts[i].iov_len = left;
        left -= parts[i].iov_len;
    }
    some.msg_iov = parts;
    return __real_sendmsg(fd, &some, flags);
}

WRAP(int, socket, (int domain, int type, int protocol))
{
    return fails("socket", -1, NULL) ? -1 : keep_kind(__real_socket(domain, type, protocol), "listener");
}

WRAP(int, bind, (int fd, const struct sockaddr *address, socklen_t size)) FAIL(bind, fd, NULL, (fd, address, size))
WRAP(int, getsockname, (int fd, struct sockaddr *to, socklen_t *size)) FAIL(getsockname, fd, NULL, (fd, to, size))
WRAP(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t size))
FAIL(setsockopt, fd, NULL, (fd, level, name, value, size))
WRAP(int, listen, (int fd, int backlog)) FAIL(listen, fd, NULL, (fd, backlog))
WRAP(int, shutdown, (int fd, int how)) FAIL(shutdown, fd, NULL, (fd, how))
WRAP(int, getifaddrs, (struct ifaddrs **first)) FAIL(getifaddrs, -1, NULL, (first))

/* ---- files ---- */

WRAP(int, open, (const char *path, int flags, ...))
{
    va_list more;
    mode_t mode = 0;

    va_start(more, flags);
    if ((flags & O_CREAT) != 0) mode = (mode_t)va_arg(more, unsigned);
    va_end(more);
    return fails("open", -1, path) ? -1 : keep_kind(__real_open(path, flags, mode), kind_of_path(path));
}

WRAP(int, fcntl, (int fd, int command, ...))
{
    va_list more;
    void *argument; /* an int passes through it unharmed */

    va_start(more, command);
    argument = va_arg(more, void *);
    va_end(more);
    return fails("fcntl", fd, NULL) ? -1 : __real_fcntl(fd, command, argument);
}

/* What was written under the name of the new file is the file now. */
WRAP(int, rename, (const char *from, const char *to))
{
    int result = fails("rename", -1, from) ? -1 : __real_rename(from, to), fd;

    for (fd = 0; result == 0 && fd < FILES; fd++) {
        if (kinds[fd] != NULL && strcmp(kinds[fd], "new") == 0) kinds[fd] = "file";
    }
    return result;
}

/* The descriptor is gone, whatever close() says (Linux). */
WRAP(int, close, (int fd))
{
    int is_bad = fails("close", fd, NULL), error = errno, result = __real_close(keep_kind(fd, NULL));

    if (is_bad) errno = error;
    return is_bad ? -1 : result;
}

WRAP(ssize_t, read, (int fd, void *bytes, size_t size)) CUT(read, (fd, bytes, size))
WRAP(ssize_t, write, (int fd, const void *bytes, size_t size)) CUT(write, (fd, bytes, size))
WRAP(int, ftruncate, (int fd, off_t length)) FAIL(ftruncate, fd, NULL, (fd, length))
WRAP(int, fsync, (int fd)) FAIL(fsync, fd, NULL, (fd))
WRAP(int, fchmod, (int fd, mode_t mode)) FAIL(fchmod, fd, NULL, (fd, mode))
WRAP(int, link, (const char *from, const char *to)) FAIL(link, -1, from, (from, to))
WRAP(int, unlink, (const char *path)) FAIL(unlink, -1, path, (path))
WRAP(int, stat, (const char *path, struct stat *to)) FAIL(stat, -1, path, (path, to))
WRAP(char *, realpath, (const char *path, char *to)) FAIL_NULL(realpath, path, (path, to))

/* ---- processes, memory, clocks ---- */

WRAP(int, pipe, (int fds[2]))
{
    int result = fails("pipe", -1, NULL) ? -1 : __real_pipe(fds);

    if (result == 0) kinds[fds[0]] = kinds[fds[1]] = "pipe"; /* before there are many */
    return result;
}

WRAP(pid_t, fork, (void)) FAIL(fork, -1, NULL, ())
WRAP(pid_t, waitpid, (pid_t child, int *to, int how)) FAIL(waitpid, -1, NULL, (child, to, how))
WRAP(int, sigaction, (int number, const struct sigaction *action, struct sigaction *before))
FAIL(sigaction, -1, NULL, (number, action, before))
WRAP(int, clock_gettime, (clockid_t clock, struct timespec *to)) FAIL(clock_gettime, -1, NULL, (clock, to))
WRAP(int, gethostname, (char *to, size_t size)) FAIL(gethostname, -1, NULL, (to, size))
WRAP(int, getrlimit, (int what, struct rlimit *to)) FAIL(getrlimit, -1, NULL, (what, to))
WRAP(int, setrlimit, (int what, const struct rlimit *to)) FAIL(setrlimit, -1, NULL, (what, to))
WRAP(void *, malloc, (size_t size)) FAIL_NULL(malloc, NULL, (size))
WRAP(void *, calloc, (size_t count, size_t size)) FAIL_NULL(calloc, NULL, (count, size))
WRAP(char *, strdup, (const char *text)) FAIL_NULL(strdup, NULL, (text))
WRAP(char *, strndup, (const char *text, size_t size)) FAIL_NULL(strndup, NULL, (text, size))
