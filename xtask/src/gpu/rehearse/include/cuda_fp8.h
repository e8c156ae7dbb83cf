// Stands in for the header of this name when candle's kernels are compiled for the processor.
#include "candle.h"
