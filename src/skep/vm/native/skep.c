/* Everything, as one unit: the whole native half is one bitcode module. */
#include "skep.h"
#include "packet.h"

#include "array.c"
#include "hash.c"
#include "lpm.c"
#include "queue.c"
#include "ring.c"
#include "references.c"
#include "map.c"
#include "host.c"
#include "capture.c"
#include "loops.c"
