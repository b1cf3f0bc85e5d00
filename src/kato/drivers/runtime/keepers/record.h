/* What a keeper reads and writes by name: its record (keeper.c says what is in it), and short files of the kernel's. */
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

enum { FAULT = 125 };

struct spec {
    const char *cwd, *events;
    char **argv, **env, **cgroups;
    gid_t *groups;
    size_t args, envs, cgroup_count, group_count;
    long uid, gid;
    long long rotate, files, descriptors;
    int stop;
    double grace;
};

/* The record folder. */
extern int dir;

/* Tells what could not be done, and why, and ends. */
_Noreturn void fault(int fd, const char *what);
/* Seconds. */
double now(clockid_t clock);
bool write_all(int fd, const char *data, size_t size);
/* A short file as text; empty where it cannot be read. */
void read_text(const char *path, char *text, size_t size);
bool put(const char *folder, const char *name, const char *text);
/* Durable or not at all: whoever reads `name` sees all of the text. */
bool save(const char *name, const char *format, ...);
/* A full disk must not cost the truth about the end, so its blocks are taken beforehand. */
void reserve(const char *temporary);
/* The spec; it must be whole. */
void load(struct spec *spec);
