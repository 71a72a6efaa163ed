// A file system that shows another directory, read-only, and takes a stated time to open each file: storage that is
// some milliseconds away, without a network. File data stays in the page cache, as it would on the client of a shared
// file system; each open goes to the "server".
//
//   cc -O2 -o slowfs slowfs.c $(pkg-config --cflags --libs fuse3)
//   ./slowfs DIR DELAY_US MOUNTPOINT     (unmount with fusermount3 -u MOUNTPOINT)
#define FUSE_USE_VERSION 312
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *shown;
static long delay_us;

static int under(char *full, const char *path) {
    return snprintf(full, 4096, "%s%s", shown, path) < 4096 ? 0 : -ENAMETOOLONG;
}

static int slow_getattr(const char *path, struct stat *stat, struct fuse_file_info *info) {
    (void)info;
    char full[4096];
    if (under(full, path)) return -ENAMETOOLONG;
    return lstat(full, stat) ? -errno : 0;
}

static int slow_readdir(const char *path, void *out, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *info,
                        enum fuse_readdir_flags flags) {
    (void)offset, (void)info, (void)flags;
    char full[4096];
    if (under(full, path)) return -ENAMETOOLONG;
    DIR *dir = opendir(full);
    if (!dir) return -errno;
    for (struct dirent *entry; (entry = readdir(dir));) {
        struct stat stat = {.st_ino = entry->d_ino, .st_mode = (mode_t)entry->d_type << 12};
        if (fill(out, entry->d_name, &stat, 0, 0)) break;
    }
    closedir(dir);
    return 0;
}

static int slow_open(const char *path, struct fuse_file_info *info) {
    char full[4096];
    if (under(full, path)) return -ENAMETOOLONG;
    if ((info->flags & O_ACCMODE) != O_RDONLY) return -EROFS;
    const struct timespec delay = {delay_us / 1000000, delay_us % 1000000 * 1000};
    nanosleep(&delay, NULL);
    const int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    info->fh = (uint64_t)fd;
    info->keep_cache = 1;
    return 0;
}

static int slow_read(const char *path, char *out, size_t size, off_t offset, struct fuse_file_info *info) {
    (void)path;
    const ssize_t got = pread((int)info->fh, out, size, offset);
    return got < 0 ? -errno : (int)got;
}

static int slow_release(const char *path, struct fuse_file_info *info) {
    (void)path;
    return close((int)info->fh) ? -errno : 0;
}

static void *slow_init(struct fuse_conn_info *connection, struct fuse_config *config) {
    (void)connection;
    config->kernel_cache = 1;
    config->entry_timeout = config->attr_timeout = 3600;
    return NULL;
}

int main(int count, char **words) {
    if (count != 4 || (delay_us = atol(words[2])) < 0) {
        fprintf(stderr, "usage: %s DIR DELAY_US MOUNTPOINT\n", words[0]);
        return 2;
    }
    shown = realpath(words[1], NULL);
    if (!shown) {
        perror(words[1]);
        return 2;
    }
    static const struct fuse_operations operations = {
        .getattr = slow_getattr, .readdir = slow_readdir, .open = slow_open, .read = slow_read,
        .release = slow_release, .init = slow_init,
    };
    // As many requests at a time as a daemon may have reads: the delay is the storage's, not a queue of ours.
    char *options[] = {words[0], "-f", "-o", "ro,max_threads=256,max_idle_threads=256", words[3], NULL};
    return fuse_main(5, options, &operations, NULL);
}
