/* One process a task and network: the rules for its published ports flow in, and what clients of the node and the
 * container say to each other flows through.
 *
 *   keeper share PID NETNS FILE [PROTOCOL/HOST/PORT/ADDRESS/PORT...]
 *
 * It is in the network namespace NETNS for as long as PID lives, and so that lives too, whatever becomes of the cell;
 * FILE is told its pid. A port of HOST is bound where it was started, so that nobody else gets it; but it listens
 * there only once somebody listens inside: a client is refused until then, as by any server that is not up.
 * Where it dies before PID, its ports are anybody's: the task's keeper ends the task then (stood).
 */
#define _GNU_SOURCE
#include "forward.h"
#include "record.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PIECE = 16384, DOORS = 256, GUESTS = 512, IDLE_S = 120, FIRST_MS = 2, LAST_MS = 200, TURN = 64 };
enum kind { MASTER, DOOR, SIDE, GUEST };

/* A published port. open: somebody listens inside. */
struct door {
    enum kind kind;
    int fd;
    bool tcp, open;
    struct sockaddr_in here, there;
};

/* One end of a connection; data: what came from it and has not gone to the other end. */
struct side {
    enum kind kind;
    int fd;
    uint32_t asked;
    bool over, told;
    size_t from, to;
    struct pair *pair;
    char data[PIECE];
};

struct pair {
    struct side side[2];
    struct door *door;
    struct pair *next;
    bool connecting, dead;
};

/* A client by UDP, with a socket of its own inside. */
struct guest {
    enum kind kind;
    int fd;
    double heard;
    struct door *door;
    struct sockaddr_in peer;
};

static struct door doors[DOORS];
static struct guest guests[GUESTS];
static struct pair *dead;
static size_t door_count;
static int events;
static bool full;
static ino_t outside;
static char tables[2][64], network[64];

static ino_t inode(const char *path) {
    struct stat about;
    return stat(path, &about) ? 0 : about.st_ino;
}

static void watch(int fd, int how, uint32_t what, void *whom) {
    struct epoll_event event = {.events = what, .data.ptr = whom};
    epoll_ctl(events, how, fd, &event);
}

/* Whether the port may be had beside connections of before that linger; nobody else may have it then, so that it is
 * forbidden but for the moment in which it is taken, and while somebody listens there. */
static void lenient(int fd, int yes) { setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes); }

static bool listens_at(int fd) {
    lenient(fd, 1);
    if (!listen(fd, 4096)) return true;
    lenient(fd, 0);
    return false;
}

static bool address(char *host, char *port, struct sockaddr_in *into) {
    into->sin_family = AF_INET;
    into->sin_port = htons((uint16_t)atoi(port));
    return inet_pton(AF_INET, host, &into->sin_addr) == 1;
}

static void bind_door(char *rule, int faults) {
    char *word[5], *rest = rule, said[128];
    struct door *door = &doors[door_count++];
    for (int i = 0; i < 5; i++) word[i] = strsep(&rest, "/");
    errno = EINVAL;
    if (door_count == DOORS || !word[4] || !address(word[1], word[2], &door->here) ||
        !address(word[3], word[4], &door->there))
        fault(faults, "read a rule");
    snprintf(said, sizeof said, "publish port %s of %s", word[2], word[1]);
    door->kind = DOOR;
    door->tcp = !strcmp(word[0], "tcp");
    door->fd = socket(AF_INET, (door->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (door->fd < 0) fault(faults, said);
    if (door->tcp) lenient(door->fd, 1);
    if (bind(door->fd, (struct sockaddr *)&door->here, sizeof door->here)) fault(faults, said);
    lenient(door->fd, 0);
    if (!door->tcp) watch(door->fd, EPOLL_CTL_ADD, EPOLLIN, door);
}

/* Whether a row of /proc/net/tcp or tcp6 is of a socket that listens at a port, not on loopback alone. */
static bool listens(const char *row, unsigned port) {
    unsigned at, state, last;
    char local[64];
    if (sscanf(row, " %*d: %63[0-9A-F]:%x %*[0-9A-F]:%*x %x", local, &at, &state) != 3) return false;
    if (state != 0x0A || at != port || strlen(local) < 8) return false;
    if (!strcmp(local, "00000000000000000000000001000000")) return false;
    sscanf(local + strlen(local) - 8, "%x", &last);
    bool four = strlen(local) == 8 || !strncmp(local, "0000000000000000FFFF0000", 24);
    return !four || ntohl(last) >> 24 != 127;
}

static bool is_served(const struct door *door) {
    char row[512];
    bool found = false;
    for (int i = 0; i < 2 && !found; i++) {
        FILE *table = fopen(tables[i], "re");
        while (table && !found && fgets(row, sizeof row, table))
            found = listens(row, ntohs(door->there.sin_port));
        if (table) fclose(table);
    }
    return found;
}

/* Opens doors behind which somebody listens by now; ms until the next look, -1 where all are open. */
static int open_doors(void) {
    static int pause = FIRST_MS;
    bool shut = false, inside = true;
    for (size_t i = 0; i < door_count; i++) shut = shut || (doors[i].tcp && !doors[i].open);
    if (!shut) return pause = FIRST_MS, -1;
    ino_t there = inode(network);
    inside = there && there != outside; /* it is not in its own network from its first moment on */
    for (size_t i = 0; i < door_count && inside; i++)
        if (doors[i].tcp && !doors[i].open && is_served(&doors[i]) && listens_at(doors[i].fd)) {
            doors[i].open = true;
            watch(doors[i].fd, EPOLL_CTL_ADD, EPOLLIN, &doors[i]);
        }
    pause = pause * 5 / 4 + 1;
    return pause = pause < LAST_MS ? pause : LAST_MS;
}

static void shut_door(struct door *door) {
    if (!door->open) return;
    watch(door->fd, EPOLL_CTL_DEL, 0, NULL);
    shutdown(door->fd, SHUT_RDWR); /* it stays bound */
    lenient(door->fd, 0);
    door->open = false;
}

/* Who waits in front of a door while there were no descriptors is let in again. */
static void let_in(void) {
    if (!full) return;
    full = false;
    for (size_t i = 0; i < door_count; i++)
        if (doors[i].open) watch(doors[i].fd, EPOLL_CTL_MOD, EPOLLIN, &doors[i]);
}

static void end(struct pair *pair, bool reset) {
    struct linger now = {1, 0};
    if (pair->dead) return;
    for (int i = 0; i < 2; i++) {
        if (reset) setsockopt(pair->side[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(pair->side[i].fd);
    }
    pair->dead = true;
    pair->next = dead;
    dead = pair;
    let_in();
}

/* A side of which nothing is wanted is not watched: one that has hung up would be told of again and again. */
static void arrange(struct pair *pair) {
    for (int i = 0; i < 2; i++) {
        struct side *side = &pair->side[i], *other = &pair->side[!i];
        uint32_t wanted = pair->connecting ? (i ? EPOLLOUT : 0)
                                           : (side->over || side->to == PIECE ? 0 : EPOLLIN) |
                                                 (other->from < other->to ? EPOLLOUT : 0);
        if (wanted == side->asked) continue;
        watch(side->fd, !side->asked ? EPOLL_CTL_ADD : wanted ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, wanted, side);
        side->asked = wanted;
    }
}

/* Takes from a side what there is, and gives it to the other; whether both bear it. */
static bool carry(struct side *side, struct side *other) {
    if (!side->over && side->to < PIECE) {
        ssize_t got = recv(side->fd, side->data + side->to, PIECE - side->to, 0);
        if (got < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (got > 0) side->to += (size_t)got;
        side->over = !got;
    }
    if (side->from < side->to) {
        ssize_t put = send(other->fd, side->data + side->from, side->to - side->from, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (put > 0) side->from += (size_t)put;
        if (side->from == side->to) side->from = side->to = 0;
    }
    if (side->over && side->from == side->to && !side->told) {
        shutdown(other->fd, SHUT_WR);
        side->told = true;
    }
    return true;
}

static void serve(struct side *side) {
    struct pair *pair = side->pair;
    if (pair->dead) return;
    if (pair->connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(pair->side[1].fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error == ECONNREFUSED) shut_door(pair->door);
        if (error) return end(pair, true);
        pair->connecting = false;
    }
    if (!carry(&pair->side[0], &pair->side[1]) || !carry(&pair->side[1], &pair->side[0])) return end(pair, true);
    if (pair->side[0].told && pair->side[1].told) return end(pair, false);
    arrange(pair);
}

static void meet(struct door *door) {
    for (int i = 0; i < TURN && door->open; i++) {
        int client = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
            watch(door->fd, EPOLL_CTL_MOD, 0, door);
            full = true;
        }
        if (client < 0) return;
        int inner = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct pair *pair = inner < 0 ? NULL : malloc(sizeof *pair);
        if (!pair || (connect(inner, (struct sockaddr *)&door->there, sizeof door->there) && errno != EINPROGRESS)) {
            struct linger now = {1, 0};
            setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            close(client);
            if (inner >= 0) close(inner);
            free(pair);
            continue;
        }
        *pair = (struct pair){.door = door, .connecting = true};
        for (int n = 0; n < 2; n++) {
            int yes = 1;
            pair->side[n] = (struct side){.kind = SIDE, .fd = n ? inner : client, .pair = pair};
            setsockopt(pair->side[n].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            lenient(pair->side[n].fd, 1);
        }
        arrange(pair);
    }
}

static struct guest *guest_of(struct door *door, const struct sockaddr_in *peer) {
    struct guest *found = &guests[0];
    for (int i = 0; i < GUESTS; i++) {
        struct guest *each = &guests[i];
        if (each->fd > 0 && each->door == door && each->peer.sin_port == peer->sin_port &&
            each->peer.sin_addr.s_addr == peer->sin_addr.s_addr)
            return each;
        if (each->heard < found->heard) found = each;
    }
    if (found->fd > 0) close(found->fd);
    *found = (struct guest){.kind = GUEST, .door = door, .peer = *peer};
    found->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (found->fd < 0 || connect(found->fd, (struct sockaddr *)&door->there, sizeof door->there)) return NULL;
    watch(found->fd, EPOLL_CTL_ADD, EPOLLIN, found);
    return found;
}

static void pass(struct door *door, struct guest *back) {
    static char packet[65536];
    for (int i = 0; i < TURN; i++) {
        struct sockaddr_in peer;
        socklen_t size = sizeof peer;
        ssize_t got = recvfrom(back ? back->fd : door->fd, packet, sizeof packet, 0, (struct sockaddr *)&peer, &size);
        if (got < 0) return;
        struct guest *guest = back ? back : guest_of(door, &peer);
        if (!guest) continue;
        guest->heard = now(CLOCK_MONOTONIC);
        if (back) sendto(back->door->fd, packet, (size_t)got, 0, (struct sockaddr *)&back->peer, sizeof back->peer);
        else send(guest->fd, packet, (size_t)got, 0);
    }
}

/* Lets go of who has been silent; ms until somebody may have been, -1 where nobody is there. */
static int forget_guests(void) {
    double old = now(CLOCK_MONOTONIC) - IDLE_S;
    bool any = false;
    for (int i = 0; i < GUESTS; i++) {
        if (guests[i].fd > 0 && guests[i].heard < old) {
            close(guests[i].fd);
            guests[i] = (struct guest){0};
        }
        any = any || guests[i].fd > 0;
    }
    return any ? IDLE_S * 250 : -1;
}

static _Noreturn void stand(void) {
    struct epoll_event happened[TURN];
    for (;;) {
        int look = open_doors(), tidy = forget_guests();
        int count = epoll_wait(events, happened, TURN, look >= 0 ? look : tidy);
        for (int i = 0; i < count; i++) {
            void *whom = happened[i].data.ptr;
            switch (*(enum kind *)whom) {
            case MASTER: _exit(0);
            case DOOR: ((struct door *)whom)->tcp ? meet(whom) : pass(whom, NULL); break;
            case SIDE: serve(whom); break;
            case GUEST: pass(NULL, whom); break;
            }
        }
        for (struct pair *each; (each = dead);) {
            dead = each->next;
            free(each);
        }
    }
}

/* Takes its place: the ports out here, then the namespace, then the file that tells of it. */
static void begin(char **argv, int rules, int faults) {
    static enum kind master = MASTER;
    struct rlimit most;
    char text[32];
    pid_t whose = atoi(argv[2]);
    int gone = (int)syscall(SYS_pidfd_open, whose, 0);
    int there = open(argv[3], O_RDONLY | O_CLOEXEC);
    events = epoll_create1(EPOLL_CLOEXEC);
    if (gone < 0 || events < 0) fault(faults, "watch the container");
    if (there < 0) fault(faults, "find the network");
    watch(gone, EPOLL_CTL_ADD, EPOLLIN, &master);
    outside = inode("/proc/self/ns/net");
    snprintf(network, sizeof network, "/proc/%d/ns/net", (int)whose);
    for (int i = 0; i < 2; i++) snprintf(tables[i], sizeof tables[i], "/proc/%d/net/tcp%s", (int)whose, i ? "6" : "");
    if (!getrlimit(RLIMIT_NOFILE, &most)) {
        most.rlim_cur = most.rlim_max;
        setrlimit(RLIMIT_NOFILE, &most);
    }
    for (int i = 0; i < rules; i++) bind_door(argv[5 + i], faults);
    if (setns(there, CLONE_NEWNET)) fault(faults, "enter the network");
    close(there);
    int file = open(argv[4], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    int size = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (file < 0 || !write_all(file, text, (size_t)size)) fault(faults, "write its pid");
    close(file);
}

bool stood(pid_t pid) {
    char path[64], text[32];
    for (int n = 0; n < DOORS; n++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d/oci/network.%d", dir, n);
        read_text(path, text, sizeof text);
        if (!*text || atoi(text) == pid) return *text;
    }
    return false;
}

int share(int argc, char **argv) {
    int faults[2];
    char why[256];
    if (pipe2(faults, O_CLOEXEC)) fault(2, "make a pipe");
    pid_t child = fork();
    if (child < 0) fault(2, "fork");
    if (child > 0) {
        close(faults[1]);
        ssize_t got = read(faults[0], why, sizeof why);
        if (got <= 0) return 0;
        if (write_all(2, "the keeper could not ", 21) && write_all(2, why, (size_t)got)) write_all(2, "\n", 1);
        return FAULT;
    }
    setsid();
    for (int i = 0; i < 4; i++) signal((int[]){SIGHUP, SIGINT, SIGPIPE, SIGTERM}[i], SIG_IGN);
    begin(argv, argc - 5, faults[1]);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++) dup2(null, i);
    close(faults[1]);
    stand();
}
