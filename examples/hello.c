/* Every rank adds its numbers to the others':  hocket run -n 4 -- build/examples/hello */
#include <hocket/hocket.h>
#include <stdio.h>

int main(void)
{
    hocket_group *world;
    if (hocket_init(NULL, &world) != HOCKET_OK) {
        fprintf(stderr, "%s\n", hocket_last_error());
        return 1;
    }
    float x[4] = {1, 2, 3, 4};
    hocket_status status = hocket_all_sum(world, x, 4);
    if (status != HOCKET_OK)
        fprintf(stderr, "%s\n", hocket_last_error());
    else
        printf("rank %d of %d: %g %g %g %g\n", hocket_rank(world), hocket_world_size(world), x[0],
               x[1], x[2], x[3]);
    hocket_free(world);
    return status != HOCKET_OK;
}
