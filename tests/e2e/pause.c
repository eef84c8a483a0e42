/* What a pod's namespaces are kept open by. */
#include <unistd.h>

int main(void) {
    for (;;)
        pause();
}
