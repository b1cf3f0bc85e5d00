/* A record folder flows in as a launch spec; out flow files that are whole or not there. And what else a keeper reads
 * and writes by name: short files of the kernel's. */
#define _GNU_SOURCE
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int dir = -1;

_Noreturn void fault(int fd, const char *what) {
    dprintf(fd, "%s: %s", what, strerror(errno));
    _exit(FAULT);
}

double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

bool write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return false;
        data += done;
        size -= (size_t)done;
    }
    return true;
}

void read_text(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, size - 1);
    text[got > 0 ? got : 0] = '\0';
    if (fd >= 0) close(fd);
}

bool put(const char *folder, const char *name, const char *text) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write_all(fd, text, strlen(text));
    if (fd >= 0) close(fd);
    return done;
}

bool save(const char *name, const char *format, ...) {
    char text[1024], temporary[32];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    snprintf(temporary, sizeof temporary, "%s.new", name);
    int fd = openat(dir, temporary, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write_all(fd, text, (size_t)size) && !ftruncate(fd, size) && !fsync(fd);
    if (fd >= 0) close(fd);
    return done && !renameat(dir, temporary, dir, name) && !fsync(dir);
}

void reserve(const char *temporary) {
    int fd = openat(dir, temporary, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, 4096)) fault(1, "reserve the record's end");
    close(fd);
}

static void *list(size_t count, size_t size) {
    void *memory = calloc(count + 1, size);
    if (!memory) fault(1, "read the spec");
    return memory;
}

void load(struct spec *spec) {
    struct stat about;
    int fd = openat(dir, "spec", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about)) fault(1, "read the spec");
    size_t size = (size_t)about.st_size, fields = 0;
    char *text = list(size, 1);
    if (read(fd, text, size) != about.st_size) fault(1, "read the spec");
    close(fd);
    for (size_t i = 0; i < size; i++) fields += !text[i];
    spec->argv = list(fields, sizeof(char *));
    spec->env = list(fields, sizeof(char *));
    spec->cgroups = list(fields, sizeof(char *));
    spec->groups = list(fields, sizeof(gid_t));
    spec->uid = spec->gid = -1;
    for (char *key = text, *value; key < text + size; key = value + strlen(value) + 1) {
        value = key + strlen(key) + 1;
        if (value >= text + size) break;
        if (!strcmp(key, "arg")) spec->argv[spec->args++] = value;
        else if (!strcmp(key, "env")) spec->env[spec->envs++] = value;
        else if (!strcmp(key, "cgroup")) spec->cgroups[spec->cgroup_count++] = value;
        else if (!strcmp(key, "group")) spec->groups[spec->group_count++] = (gid_t)atol(value);
        else if (!strcmp(key, "uid")) spec->uid = atol(value);
        else if (!strcmp(key, "gid")) spec->gid = atol(value);
        else if (!strcmp(key, "cwd")) spec->cwd = value;
        else if (!strcmp(key, "events")) spec->events = value;
        else if (!strcmp(key, "rotate")) spec->rotate = atoll(value);
        else if (!strcmp(key, "files")) spec->files = atoll(value);
        else if (!strcmp(key, "descriptors")) spec->descriptors = atoll(value);
        else if (!strcmp(key, "stop")) spec->stop = atoi(value);
        else if (!strcmp(key, "grace")) spec->grace = atof(value);
    }
    errno = EINVAL;
    if (!spec->cwd || !spec->args || spec->rotate <= 0 || spec->files <= 0) fault(1, "read the spec");
}
