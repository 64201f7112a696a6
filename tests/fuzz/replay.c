/* Runs a fuzz target on the files of its corpus, without libFuzzer: replay FOLDER|FILE... */
#include "input.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECONDS_EACH 10
#define FILE_BYTES_MAX (1 << 20)
#define PATH_BYTES 4096

static void too_slow(int signal_number)
{
    static const char text[] = "replay: the last file took too long\n";
    (void)signal_number;
    ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(1);
}

static void fail(const char *path, const char *why)
{
    fprintf(stderr, "replay: %s %s\n", path, why);
    exit(1);
}

/* In memory of exactly its size, so that sanitizers see a read beyond it. */
static void replay_file(const char *path)
{
    static uint8_t buffer[FILE_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail(path, "cannot be opened");
    size_t size = fread(buffer, 1, sizeof buffer, file);
    if (ferror(file) || size == sizeof buffer)
        fail(path, "cannot be read, or is too large");
    fclose(file);
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL)
        fail(path, "finds no memory");
    memcpy(data, buffer, size);
    fprintf(stderr, "replay: %s\n", path); /* the last one named is the culprit */
    alarm(SECONDS_EACH);
    LLVMFuzzerTestOneInput(data, size);
    alarm(0);
    free(data);
}

static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL)
        fail(folder, "cannot be opened");
    int count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char path[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        replay_file(path);
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    signal(SIGALRM, too_slow);
    int count = 0;
    for (int i = 1; i < argc; i++) {
        struct stat what;
        if (stat(argv[i], &what) == 0 && S_ISDIR(what.st_mode)) {
            count += replay_folder(argv[i]);
        } else {
            replay_file(argv[i]);
            count++;
        }
    }
    if (count == 0) {
        fprintf(stderr, "replay: nothing to replay\n");
        return 1;
    }
    fprintf(stderr, "replay: %d inputs\n", count);
    return 0;
}
