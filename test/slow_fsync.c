/* slow_fsync.c: a disk and a clock as a test wants them, put in front of the system's by LD_PRELOAD.
 *
 * SLOW_FSYNC names a file with a wish, looked at before each call and while it lasts, so that a test can change its
 * mind: "fsync MS" and "write MS" are how long an fsync(), or a write() of half a batch of records and more, takes;
 * "fail" makes every fsync() fail with EIO; anything else (or no file) leaves the disk alone. Every fsync() is told in
 * the file of that name with ".log" behind: `PID begins` and `PID ends`, a line each. The file with ".clock" behind
 * holds how many ms the monotonic clock is ahead, that with ".wall" how many the wall clock is (or behind: "-5"). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* for RTLD_NEXT */
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEP_MS 5
#define LONG_WRITE 8192

/* The system's write() and clock_gettime(): a function's address comes as that of an object. */
static ssize_t system_write(int fd, const void *bytes, size_t size)
{
    static ssize_t (*call)(int, const void *, size_t);
    void *found = call == NULL ? dlsym(RTLD_NEXT, "write") : NULL;

    if (found != NULL) memcpy(&call, &found, sizeof found);
    return call(fd, bytes, size);
}

static int system_clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*call)(clockid_t, struct timespec *);
    void *found = call == NULL ? dlsym(RTLD_NEXT, "clock_gettime") : NULL;

    if (found != NULL) memcpy(&call, &found, sizeof found);
    return call(clock, time);
}

static int open_beside(const char *suffix, int flags)
{
    const char *path = getenv("SLOW_FSYNC");
    char name[4096];

    if (path == NULL || snprintf(name, sizeof name, "%s%s", path, suffix) >= (int)sizeof name) return -1;
    return open(name, flags | O_CLOEXEC, 0600);
}

static void read_beside(const char *suffix, char text[32])
{
    int fd = open_beside(suffix, O_RDONLY);
    ssize_t count = fd >= 0 ? read(fd, text, 31) : 0;

    text[count > 0 ? count : 0] = '\0';
    if (fd >= 0) (void)close(fd);
}

static void note(const char *what)
{
    char line[64];
    int fd = open_beside(".log", O_WRONLY | O_APPEND | O_CREAT), length;

    if (fd < 0) return;
    length = snprintf(line, sizeof line, "%ld %s\n", (long)getpid(), what);
    (void)!system_write(fd, line, (size_t)length);
    (void)close(fd);
}

/* Lets as much time go by as the wish says for CALL. Returns whether it is to fail. */
static int delay(const char *call)
{
    struct timespec step = {0, STEP_MS * 1000000L};
    size_t length = strlen(call);
    char wish[32];
    long waited_ms;

    for (waited_ms = 0;; waited_ms += STEP_MS) {
        read_beside("", wish);
        if (strncmp(wish, call, length) != 0 || waited_ms >= strtol(wish + length, NULL, 10)) break;
        (void)nanosleep(&step, NULL);
    }
    return strcmp(wish, "fail") == 0;
}

int fsync(int fd)
{
    int fails, result;

    note("begins");
    fails = delay("fsync ");
    result = fails ? -1 : fdatasync(fd); /* it is the other way into the kernel */
    if (fails) errno = EIO;
    note("ends");
    return result;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    if (size >= LONG_WRITE) (void)delay("write ");
    return system_write(fd, bytes, size);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = system_clock_gettime(clock, time);
    char ahead[32];
    long long ms;

    if (result != 0) return result;
    read_beside(clock == CLOCK_MONOTONIC ? ".clock" : ".wall", ahead);
    ms = strtoll(ahead, NULL, 10);
    time->tv_sec += (time_t)(ms / 1000);
    time->tv_nsec += (long)(ms % 1000) * 1000000L;
    if (time->tv_nsec < 0) {
        time->tv_sec--;
        time->tv_nsec += 1000000000L;
    }
    if (time->tv_nsec >= 1000000000L) {
        time->tv_sec++;
        time->tv_nsec -= 1000000000L;
    }
    return 0;
}
