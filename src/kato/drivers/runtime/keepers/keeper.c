/* One keeper a task: a launch spec flows in from the record folder; out flow the task's output, its start and its
 * end, and nothing of the task is left alive when the keeper ends.
 *
 *   keeper keep RECORD          starts the task and stays for its life; fd 1 hears `{…}` (started) or a fault
 *   keeper run RECORD ARG...    runs a command where the task runs: its cgroups, user, folder and environment
 *   keeper exec FD RECORD ARG...  as run, on the terminal of fd 0, if it is one; FD hears a fault, or its end
 *   keeper init ARG...            the first process of a container: init.c
 *   keeper share ...              joins a container to a network: forward.c
 *
 * RECORD holds, each written to a temporary, synced and renamed:
 *   spec      in: NUL-ended pairs of key and value (record.py writes them)
 *   lock      an flock held for life; free means that the keeper is gone
 *   started   out, before the task's exec: pid, start time, boot id
 *   ended     out, when the task's first process has ended: its code or its signal
 *   control   a FIFO that takes `stop SECONDS`; removed when all of the task is gone
 *   stdout.N  out: the stream from its byte N on; a full file is followed by the next
 *   times.stdout.N  out: beside it, when: pairs of 8 bytes, the offset of a piece and its epoch in nanoseconds
 */
#define _GNU_SOURCE
#include "forward.h"
#include "init.h"
#include "record.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 32768, TICK_MS = 20, LAZY_MS = 1000 };

struct stream {
    const char *name;
    int pipe, file, times;
    long long base, size, noted;
};

static pid_t leader;
static bool ended, stopping, killing, childless, groupless;
static double deadline;
static int gently = SIGTERM;

static void join(const struct spec *spec, int faults) {
    for (size_t i = 0; i < spec->cgroup_count; i++)
        if (!put(spec->cgroups[i], "cgroup.procs", "0")) fault(faults, "join the cgroup");
}

/* Becomes the task's user, in its folder. Root's groups go first, while that is still permitted. */
static void become(const struct spec *spec, int faults) {
    struct rlimit files;
    if (spec->descriptors > 0 && !getrlimit(RLIMIT_NOFILE, &files)) {
        if ((rlim_t)spec->descriptors < files.rlim_max) files.rlim_cur = (rlim_t)spec->descriptors;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (spec->uid >= 0) {
        if (setgroups(spec->group_count, spec->groups)) fault(faults, "set groups");
        if (setresgid((gid_t)spec->gid, (gid_t)spec->gid, (gid_t)spec->gid)) fault(faults, "set group");
        if (setresuid((uid_t)spec->uid, (uid_t)spec->uid, (uid_t)spec->uid)) fault(faults, "set user");
    }
    umask(022);
    if (chdir(spec->cwd)) fault(faults, "enter");
}

static void default_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void task(const struct spec *spec, pid_t keeper, const int go[2], int out, int err, int faults) {
    char word;
    close(go[1]);
    setsid();
    default_signals();
    join(spec, faults);
    if (read(go[0], &word, 1) != 1) _exit(FAULT);
    become(spec, faults);
    /* After the change of user, which clears it: a keeper that is killed takes the task with it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != keeper) _exit(FAULT);
    if (dup2(out, 1) < 0 || dup2(err, 2) < 0) fault(faults, "set output");
    environ = spec->env;
    execvp(spec->argv[0], spec->argv);
    fault(faults, "run");
}

/* The terminal of fd 0 becomes ours and the task's user's; TERM says of which kind it is. */
static void take_terminal(const struct spec *spec) {
    if (!isatty(0)) return;
    ioctl(0, TIOCSCTTY, 0);
    if (spec->uid >= 0 && fchown(0, (uid_t)spec->uid, (gid_t)-1)) return; /* it can use what it has open */
}

static _Noreturn void beside(const struct spec *spec, char **argv, int faults) {
    char *kind = getenv("TERM");
    if (faults > 2) take_terminal(spec);
    join(spec, faults);
    become(spec, faults);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    environ = spec->env;
    if (kind) setenv("TERM", kind, 1);
    execvp(argv[0], argv);
    fault(faults, "run");
}

/* Field `index` of /proc/PID/stat (man proc), counted from 3, which follows the name; -1 where it is gone. */
static long long stat_field(pid_t pid, int index) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    read_text(path, text, sizeof text);
    char *at = strrchr(text, ')');
    for (at = at ? at + 1 : at; at && index > 3; index--) at = strchr(at + 1, ' ');
    return at ? atoll(at + 1) : -1;
}

static void open_stream(struct stream *stream) {
    char name[64];
    snprintf(name, sizeof name, "%s.%lld", stream->name, stream->base);
    stream->file = openat(dir, name, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    snprintf(name, sizeof name, "times.%s.%lld", stream->name, stream->base);
    stream->times = openat(dir, name, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    stream->noted = 0;
}

/* Writes down when the piece comes that begins here, once a millisecond and file. Nothing depends on it. */
static void note_time(struct stream *stream) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    int64_t pair[2] = {stream->base + stream->size, at.tv_sec * 1000000000LL + at.tv_nsec};
    if (stream->times < 0 || pair[1] / 1000000 == stream->noted) return;
    stream->noted = pair[1] / 1000000;
    if (write(stream->times, pair, sizeof pair) != sizeof pair) { /* a full disk: a torn pair would shift the rest */
        close(stream->times);
        stream->times = -1;
    }
}

static void rotate(struct stream *stream, const struct spec *spec) {
    char oldest[64];
    long long gone = stream->base + stream->size - spec->rotate * (spec->files + 1);
    close(stream->file);
    if (stream->times >= 0) close(stream->times);
    stream->base += stream->size;
    stream->size = 0;
    open_stream(stream);
    snprintf(oldest, sizeof oldest, "%s.%lld", stream->name, gone);
    unlinkat(dir, oldest, 0);
    snprintf(oldest, sizeof oldest, "times.%s.%lld", stream->name, gone);
    unlinkat(dir, oldest, 0);
}

/* Moves a piece of output; its size. What a full disk does not take is dropped: the task must not hang on it. */
static ssize_t pump(struct stream *stream, const struct spec *spec) {
    char chunk[CHUNK];
    long long room = spec->rotate - stream->size;
    ssize_t got = stream->pipe < 0 ? -1 : read(stream->pipe, chunk, room < CHUNK ? (size_t)room : CHUNK);
    if (got == 0) {
        close(stream->pipe);
        stream->pipe = -1;
    }
    if (got <= 0) return 0;
    if (stream->file < 0) open_stream(stream);
    note_time(stream);
    for (ssize_t at = 0, done; at < got; at += done, stream->size += done) {
        done = write(stream->file, chunk + at, (size_t)(got - at));
        if (done < 0) break;
    }
    if (stream->size >= spec->rotate) rotate(stream, spec);
    return got;
}

static void stop(double grace) {
    double until = now(CLOCK_BOOTTIME) + (grace > 0 ? grace : 0);
    if (!stopping && !groupless) {
        kill(-leader, gently);
        kill(-leader, SIGCONT); /* a stopped process hears it only when it goes on */
    }
    if (!stopping || until < deadline) deadline = until;
    stopping = true;
}

/* Takes whole lines; one that a read has cut waits for its rest. */
static void obey(int control) {
    static char text[256];
    static size_t held;
    ssize_t got = read(control, text + held, sizeof text - held);
    if (got <= 0) return;
    held += (size_t)got;
    char *line = text;
    for (char *end; (end = memchr(line, '\n', (size_t)(text + held - line))); line = end + 1) {
        *end = '\0';
        if (!strncmp(line, "stop ", 5)) stop(atof(line + 5));
    }
    held -= (size_t)(line - text);
    if (held == sizeof text) held = 0; /* nobody writes a line as long as that */
    memmove(text, line, held);
}

static void save_end(int status, const struct spec *spec) {
    char code[16] = "null", number[16] = "null", events[4096] = "";
    if (WIFEXITED(status)) snprintf(code, sizeof code, "%d", WEXITSTATUS(status));
    else snprintf(number, sizeof number, "%d", WTERMSIG(status));
    if (spec->events) read_text(spec->events, events, sizeof events);
    const char *kills = strstr(events, "oom_kill ");
    bool oom = kills && atol(kills + 9) > 0 && status != 0;
    save("ended", "{\"code\":%s,\"signal\":%s,\"ended\":%.3f,\"oom\":%s}", code, number, now(CLOCK_REALTIME),
         oom ? "true" : "false");
}

/* A line of ours in the task's output. */
static void remark(struct stream *stream, const char *line) {
    if (stream->file < 0) open_stream(stream);
    note_time(stream);
    ssize_t done = write(stream->file, line, strlen(line));
    if (done > 0) stream->size += done;
}

/* A task is not left without who stands at its ports: they would be anybody's. */
static void reap(const struct spec *spec, struct stream *errors) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == leader) {
            save_end(status, spec);
            ended = true;
        } else if (!ended && !killing && status && stood(pid)) {
            remark(errors, "kato: What carried its ports was killed. It is ended, to be started anew.\n");
            kill(leader, SIGKILL);
        }
    childless = pid < 0 && errno == ECHILD;
}

/* Kills what is in a cgroup, which may not fork any more; how many were there. */
static int kill_cgroup(const char *folder) {
    char path[4096];
    int count = 0, pid;
    put(folder, "pids.max", "0");
    snprintf(path, sizeof path, "%s/cgroup.procs", folder);
    FILE *members = fopen(path, "re");
    while (members && fscanf(members, "%d", &pid) == 1 && pid > 0) {
        kill(pid, SIGKILL);
        count++;
    }
    if (members) fclose(members);
    return count;
}

/* One blow at all that is left of the task: its group, its cgroups, and the orphans that came to us as their
 * subreaper. A number of a group that was once seen empty may be a stranger's by now and is not used again. */
static int slay(const struct spec *spec) {
    int count = 0;
    if (!groupless) groupless = kill(-leader, SIGKILL) < 0 && errno == ESRCH && ended;
    for (size_t i = 0; i < spec->cgroup_count; i++) count += kill_cgroup(spec->cgroups[i]);
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all && (entry = readdir(all));) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (pid > 0 && stat_field(pid, 4) == getpid()) kill(pid, SIGKILL);
    }
    if (all) closedir(all);
    return count;
}

static int patience(void) {
    static int pause = TICK_MS;
    if (killing) return pause = pause < LAZY_MS ? pause * 2 : LAZY_MS; /* something does not die: no hurry */
    if (!stopping) return -1;
    double left = (deadline - now(CLOCK_BOOTTIME)) * 1000 + 1;
    if (ended && left > TICK_MS) return TICK_MS;
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

/* The task's life: until its first process, and then all that it left, is gone. */
static void keep(const struct spec *spec, struct stream streams[2], int control, int signals) {
    for (int left = 1; !childless || left > 0;) {
        struct pollfd on[] = {{streams[0].pipe, POLLIN, 0}, {streams[1].pipe, POLLIN, 0}, {control, POLLIN, 0},
                              {signals, POLLIN, 0}};
        struct signalfd_siginfo heard;
        poll(on, 4, patience());
        for (int i = 0; i < 2; i++)
            if (on[i].revents) pump(&streams[i], spec);
        while (read(signals, &heard, sizeof heard) > 0)
            if (heard.ssi_signo == SIGTERM) stop(spec->grace);
        if (on[2].revents) obey(control);
        reap(spec, &streams[1]);
        /* While it stops, the rest of its group has the rest of the grace: a shell ends before its server. */
        if (ended && !groupless) groupless = kill(-leader, 0) < 0 && errno == ESRCH;
        killing = killing || (ended && (!stopping || groupless)) ||
                  (stopping && now(CLOCK_BOOTTIME) >= deadline);
        left = killing ? slay(spec) : 1;
        if (killing) reap(spec, &streams[1]);
    }
    for (int i = 0, waiting; i < 2; i++)
        if (streams[i].pipe >= 0 && !ioctl(streams[i].pipe, FIONREAD, &waiting))
            for (ssize_t got = 1; waiting > 0 && got > 0; waiting -= (int)got) got = pump(&streams[i], spec);
}

/* Leaves everything of the caller's behind: session, descriptors, folder, terminal. fd 1 stays until the start. */
static int detach(void) {
    sigset_t wanted;
    pid_t child = fork();
    if (child < 0) fault(1, "fork");
    if (child > 0) _exit(0);
    setsid();
    umask(077);
    default_signals();
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    for (int i = 0; i < 3; i++) signal((int[]){SIGHUP, SIGINT, SIGPIPE}[i], SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (null < 0 || signals < 0 || chdir("/")) fault(1, "detach");
    dup2(null, 0);
    dup2(null, 2);
    return signals;
}

static void take_lock(void) {
    int lock = openat(dir, "lock", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX)) fault(1, "lock the record");
    errno = EEXIST;
    if (!faccessat(dir, "started", F_OK, 0)) fault(1, "start twice");
}

static void save_start(char *text, size_t size) {
    char boot[64];
    read_text("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[strcspn(boot, "\n")] = '\0';
    snprintf(text, size,
             "{\"pid\":%d,\"start\":%lld,\"keeper\":%d,\"keeper_start\":%lld,\"boot\":\"%s\",\"time\":%.3f}",
             (int)leader, stat_field(leader, 22), (int)getpid(), stat_field(getpid(), 22), boot,
             now(CLOCK_REALTIME));
    reserve("ended.new");
    if (!save("started", "%s", text)) fault(1, "write the record");
}

/* Starts the task only once its start is on disk, and says on fd 1 what came of it. */
static void start(const struct spec *spec, struct stream streams[2]) {
    int out[2], err[2], go[2], faults[2];
    char text[512];
    if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) || pipe2(go, O_CLOEXEC) || pipe2(faults, O_CLOEXEC))
        fault(1, "make pipes");
    pid_t keeper = getpid();
    leader = fork();
    if (leader < 0) fault(1, "fork");
    if (leader == 0) task(spec, keeper, go, out[1], err[1], faults[1]);
    close(out[1]), close(err[1]), close(go[0]), close(faults[1]);
    save_start(text, sizeof text);
    for (int i = 0; i < 2; i++) {
        streams[i].pipe = i ? err[0] : out[0];
        fcntl(streams[i].pipe, F_SETFL, O_NONBLOCK);
        open_stream(&streams[i]);
    }
    char why[256];
    ssize_t gone = write(go[1], "g", 1); /* a child that failed already tells why below */
    ssize_t got = read(faults[0], why, sizeof why);
    (void)gone;
    close(go[1]);
    close(faults[0]);
    write_all(1, got > 0 ? why : text, got > 0 ? (size_t)got : strlen(text));
    dup2(0, 1);
}

int main(int argc, char **argv) {
    struct spec spec = {0};
    struct stream streams[2] = {{"stdout", -1, -1, -1, 0, 0, 0}, {"stderr", -1, -1, -1, 0, 0, 0}};
    bool run = argc > 3 && !strcmp(argv[1], "run"), exec = argc > 4 && !strcmp(argv[1], "exec");
    if (argc > 2 && !strcmp(argv[1], "init")) return init(argv + 2);
    if (argc > 4 && !strcmp(argv[1], "share")) {
        close_range(3, ~0U, 0);
        return share(argc, argv);
    }
    if (!run && !exec && (argc != 3 || strcmp(argv[1], "keep"))) {
        fputs("usage: keeper keep RECORD | keeper run RECORD ARG... | keeper exec FD RECORD ARG...\n", stderr);
        return 2;
    }
    if (exec) {
        dup2(atoi((++argv)[1]), 3);
        fcntl(3, F_SETFD, FD_CLOEXEC);
    }
    close_range(exec ? 4 : 3, ~0U, 0);
    dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) fault(1, "open the record");
    load(&spec);
    if (run || exec) beside(&spec, argv + 3, exec ? 3 : 2);
    if (spec.stop > 0) gently = spec.stop;
    int signals = detach();
    take_lock();
    if (mkfifoat(dir, "control", 0600)) fault(1, "make the control");
    int control = openat(dir, "control", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (control < 0) fault(1, "open the control");
    start(&spec, streams);
    keep(&spec, streams, control, signals);
    unlinkat(dir, "control", 0);
    return 0;
}
