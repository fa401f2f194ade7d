/* A slow disk for one folder, to be preloaded into a process: a save of milliseconds lasts long enough to be killed inside.
 *
 *   SLOW_DISK_FOLDER   absolute path; files elsewhere are as quick as ever
 *   SLOW_DISK_NAME_US  microseconds for each name made, renamed or removed, and for each sync
 *   SLOW_DISK_KB_US    microseconds for each 1000 bytes written; a write is cut in two halves with the wait between them
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) \
    static typeof(&name) real; \
    if (!real) real = (typeof(&name))dlsym(RTLD_NEXT, #name)

static const char *folder;
static size_t folder_length;
static long name_us, kb_us;

static long number(const char *key) {
    const char *text = getenv(key);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void read_settings(void) {
    folder = getenv("SLOW_DISK_FOLDER");
    folder_length = folder ? strlen(folder) : 0;
    name_us = number("SLOW_DISK_NAME_US");
    kb_us = number("SLOW_DISK_KB_US");
}

static int is_under(const char *path) {
    return folder_length && strncmp(path, folder, folder_length) == 0;
}

static int handle_is_under(int handle) {
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = folder_length ? readlink(link, path, sizeof path - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return is_under(path);
}

static int is_under_at(int handle, const char *path) {
    return path[0] == '/' || handle == AT_FDCWD ? is_under(path) : handle_is_under(handle);
}

static void wait_for_name(int applies) {
    if (applies) usleep(name_us);
}

/* Opening: a new file lies there empty for a while. */

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        int handle = real(path, flags, va_arg(rest, int)); \
        va_end(rest); \
        wait_for_name(handle >= 0 && (flags & O_CREAT) && is_under(path)); \
        return handle; \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        int handle = real(at, path, flags, va_arg(rest, int)); \
        va_end(rest); \
        wait_for_name(handle >= 0 && (flags & O_CREAT) && is_under_at(at, path)); \
        return handle; \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(name); \
        FILE *file = real(path, mode); \
        wait_for_name(file && mode[0] != 'r' && is_under(path)); \
        return file; \
    }
FOPEN(fopen)
FOPEN(fopen64)

/* Writing. */

ssize_t write(int handle, const void *bytes, size_t count) {
    REAL(write);
    if (count < 2 || !handle_is_under(handle)) return real(handle, bytes, count);
    ssize_t first = real(handle, bytes, count / 2);
    if (first < 0) return first;
    usleep(kb_us * count / 1000);
    ssize_t second = real(handle, (const char *)bytes + first, count - first);
    return second < 0 ? first : first + second;
}

ssize_t writev(int handle, const struct iovec *parts, int count) {
    REAL(writev);
    size_t total = 0;
    for (int part = 0; part < count; part++) total += parts[part].iov_len;
    if (handle_is_under(handle)) usleep(kb_us * total / 1000);
    return real(handle, parts, count);
}

int fsync(int handle) {
    REAL(fsync);
    wait_for_name(handle_is_under(handle));
    return real(handle);
}

/* Names. */

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    int result = real(path, mode);
    wait_for_name(is_under(path));
    return result;
}

int rename(const char *from, const char *to) {
    REAL(rename);
    wait_for_name(is_under(to));
    return real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    int result = real(path);
    wait_for_name(is_under(path));
    return result;
}

int unlinkat(int at, const char *path, int flags) {
    REAL(unlinkat);
    int result = real(at, path, flags);
    wait_for_name(is_under_at(at, path));
    return result;
}
