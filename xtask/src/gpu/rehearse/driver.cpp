// A stand-in for NVIDIA's driver (libcuda.so.1) that runs on the processor, for `cargo xtask gpu rehearse`.
//
// Machine code is a line that names a source (nvcc.sh writes it); its kernels were compiled for the processor beside this
// library. Work is done as late as a GPU may do it: when somebody waits for it, in the order in which it was asked for.
// So a buffer that is used again before the GPU has fetched it shows. What a GPU refuses is refused: no current context,
// launches beyond the limits, memory that is not there or was given up; and a kernel that goes wrong leaves a context
// that answers nothing but the error. Functions that are not here fail and say their name.
//
//   PPKT_REHEARSAL_DEVICES=n       how many GPUs there are (1)
//   PPKT_REHEARSAL_MEMORY_MIB=n    memory of a GPU (8192)
//   PPKT_REHEARSAL_DRIVER=VERSION  as cuDriverGetVersion gives it (13000); below, programs for 13.0 are refused
//   PPKT_REHEARSAL_EAGER=1         does all work at once
//   PPKT_REHEARSAL_REVERSE=1       runs blocks and threads in the opposite order
//   PPKT_REHEARSAL_TIMES=1         says at the end which kernels ran, how often and for how long
#include <dlfcn.h>
#include <stdarg.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <vector>

#include "memory.h"

#define API extern "C" __attribute__((visibility("default")))

typedef int Result;
typedef uintptr_t Pointer;
enum : Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    UNSUPPORTED_PTX_VERSION = 222,
    FILE_NOT_FOUND = 301,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
};

namespace {

const int BUILT_FOR = 13000;
const int MULTIPROCESSORS = 132;
const unsigned SHARED = 48 << 10, SHARED_ON_REQUEST = 227 << 10;

// As `emulated::Launch` in ppkt-nvcc's emulated.h.
struct Launch {
    unsigned grid[3], block[3];
    size_t shared_bytes;
    int reverse;
    void** arguments;
    char* message;
    size_t message_bytes;
};

struct Function {
    std::string name;
    int (*run)(const Launch*);
    size_t parameters, bytes[64];
    unsigned char pointers[64];
    unsigned most_shared = SHARED;
    size_t launches = 0;
    double seconds = 0;
};

struct Module {
    std::string source;
    void* library;
    std::map<std::string, Function*> functions;
};

struct Event {
    std::chrono::steady_clock::time_point when;
    int waiting = 0;  // records that are asked for and not done
    int asked = 0;    // how often somebody has looked for it in vain
};

struct Context {
    int device;
};

rehearsal::Memory& memory() {
    static rehearsal::Memory* one = new rehearsal::Memory;  // lives until the very end
    return *one;
}
// Work that nobody has waited for yet, of all streams. Held by who does it, too: a kernel's library has one of each of
// its shared arrays.
std::recursive_mutex order;
std::deque<std::function<Result()>> work;
std::vector<Function*> known;
std::map<Pointer, size_t> pinned;  // memory of the processor that a GPU fetches from by itself
Context contexts[16];
thread_local Context* current;
Result broken = SUCCESS;  // what every call answers once a kernel went wrong

int n_devices() { return int(std::clamp(rehearsal::setting("PPKT_REHEARSAL_DEVICES", 1), 0L, 16L)); }
int version() { return int(rehearsal::setting("PPKT_REHEARSAL_DRIVER", BUILT_FOR)); }

__attribute__((format(printf, 2, 3))) Result fault(Result result, const char* format, ...) {
    va_list list;
    va_start(list, format);
    fputs("the stand-in for a GPU: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return result;
}

// What a call on memory, streams or kernels needs.
Result ready() {
    if (broken) return broken;
    return current ? SUCCESS : fault(INVALID_CONTEXT, "a call from a thread that has no current context");
}

// Does all work.
Result finish() {
    if (Result r = ready()) return r;
    std::lock_guard<std::recursive_mutex> held(order);
    while (!work.empty() && !broken) {
        auto next = std::move(work.front());
        work.pop_front();
        broken = next();
    }
    return broken;
}

Result later(std::function<Result()> f) {
    static const bool eager = rehearsal::setting("PPKT_REHEARSAL_EAGER", 0) != 0;
    const size_t MOST = 4096;
    size_t n;
    {
        std::lock_guard<std::recursive_mutex> held(order);
        work.push_back(std::move(f));
        n = work.size();
    }
    return eager || n > MOST ? finish() : SUCCESS;
}

bool is_pinned(const void* at, size_t bytes) {
    std::lock_guard<std::recursive_mutex> held(order);
    auto next = pinned.upper_bound(reinterpret_cast<Pointer>(at));
    if (next == pinned.begin()) return false;
    auto found = std::prev(next);
    return reinterpret_cast<Pointer>(at) + bytes <= found->first + found->second;
}

Result within(Pointer at, size_t bytes, const char* what) {
    if (Result r = ready()) return r;
    if (bytes && !memory().has(reinterpret_cast<void*>(at), bytes)) {
        return fault(INVALID_VALUE, "%s of %zu bytes leaves its array", what, bytes);
    }
    return SUCCESS;
}

Result copy(Pointer to, Pointer from, size_t bytes) {
    if (bytes) memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}

// Runs a kernel, and looks at what it was given.
Result run(Function* function, Launch launch, std::vector<uint64_t> values) {
    const char* name = function->name.c_str();
    std::vector<void*> arguments;
    for (uint64_t& value : values) arguments.push_back(&value);
    char message[512] = "";
    launch.reverse = rehearsal::setting("PPKT_REHEARSAL_REVERSE", 0) != 0;
    launch.arguments = arguments.data();
    launch.message = message;
    launch.message_bytes = sizeof(message);
    auto begin = std::chrono::steady_clock::now();
    int failed = function->run(&launch);
    function->seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    function->launches++;
    if (failed) return fault(LAUNCH_FAILED, "%s: %s", name, message);
    for (size_t i = 0; i < function->parameters; i++) {
        if (function->pointers[i] && values[i] && !memory().guarded(reinterpret_cast<void*>(values[i]))) {
            return fault(ILLEGAL_ADDRESS, "%s: wrote outside of the array of argument %zu", name, i);
        }
    }
    return SUCCESS;
}

// Where kernels of a source are: beside this library, under the name of the source's path.
std::string kernels_of(const std::string& source) {
    Dl_info own;
    dladdr(reinterpret_cast<void*>(&kernels_of), &own);
    std::string folder = own.dli_fname, name = source;
    folder.erase(folder.find_last_of('/') + 1);
    for (char& c : name) {
        if (!isalnum(static_cast<unsigned char>(c))) c = '_';
    }
    return folder + "kernels/" + name + ".so";
}

// At the end of the program.
struct Ending {
    ~Ending() {
        if (rehearsal::setting("PPKT_REHEARSAL_TIMES", 0)) {
            std::sort(known.begin(), known.end(), [](auto a, auto b) { return a->seconds > b->seconds; });
            for (Function* f : known) {
                if (f->launches) fprintf(stderr, "%9.3f s %8zu × %s\n", f->seconds, f->launches, f->name.c_str());
            }
            fprintf(stderr, "%zu MiB of memory at most\n", memory().peak() >> 20);
        }
        if (!memory().all_guarded()) {
            fault(0, "something wrote outside of an array");
            _exit(99);
        }
    }
} ending;

}  // namespace

// For the stand-ins of libraries: whether an array has these bytes.
API bool rehearsal_has(const void* pointer, size_t bytes) { return memory().has(pointer, bytes); }
// And that all work before theirs is done; false where it went wrong.
API bool rehearsal_finish() { return finish() == SUCCESS; }

API Result cuInit(unsigned) { return n_devices() ? SUCCESS : NO_DEVICE; }
API Result cuDriverGetVersion(int* out) { return *out = version(), SUCCESS; }

API Result cuGetErrorName(Result error, const char** out) {
    static thread_local char text[32];
    snprintf(text, sizeof(text), "error %d", error);
    return *out = text, SUCCESS;
}
API Result cuGetErrorString(Result error, const char** out) { return cuGetErrorName(error, out); }

API Result cuDeviceGetCount(int* out) { return *out = n_devices(), SUCCESS; }
API Result cuDeviceGet(int* out, int number) {
    if (number < 0 || number >= n_devices()) return INVALID_DEVICE;
    return *out = number, SUCCESS;
}
API Result cuDeviceGetName(char* out, int bytes, int) {
    snprintf(out, size_t(bytes), "a stand-in on the processor, no GPU");
    return SUCCESS;
}
API Result cuDeviceTotalMem_v2(size_t* out, int) { return *out = memory().total(), SUCCESS; }
API Result cuDeviceGetAttribute(int* out, int attribute, int) {
    static const std::map<int, int> numbers = {
        {1, 1024},                // threads of a block
        {2, 1024}, {3, 1024}, {4, 64},
        {5, 0x7fffffff}, {6, 65535}, {7, 65535},
        {8, int(SHARED)},
        {10, 32},                 // threads of a warp
        {12, 65536},              // registers of a block
        {16, MULTIPROCESSORS},
        {38, 50 << 20},           // second cache
        {39, 2048},               // threads of a multiprocessor
        {75, 9}, {76, 0},         // compute capability
        {81, 228 << 10},          // shared memory of a multiprocessor
        {97, int(SHARED_ON_REQUEST)},
        {115, 1},                 // pools of memory
    };
    auto found = numbers.find(attribute);
    if (found == numbers.end()) return fault(INVALID_VALUE, "attribute %d of a device is not known here", attribute);
    return *out = found->second, SUCCESS;
}

API Result cuDevicePrimaryCtxRetain(Context** out, int device) {
    if (broken) return broken;
    if (device < 0 || device >= n_devices()) return INVALID_DEVICE;
    contexts[device].device = device;
    return *out = &contexts[device], SUCCESS;
}
API Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API Result cuCtxDestroy_v2(Context*) { return SUCCESS; }
API Result cuCtxSetCurrent(Context* context) { return current = context, broken; }
API Result cuCtxGetCurrent(Context** out) { return *out = current, SUCCESS; }
API Result cuCtxSynchronize() { return finish(); }

API Result cuStreamCreate(void** out, unsigned) {
    if (Result r = ready()) return r;
    return *out = new char, SUCCESS;
}
API Result cuStreamDestroy_v2(void* stream) { return delete static_cast<char*>(stream), SUCCESS; }
API Result cuStreamSynchronize(void*) { return finish(); }
API Result cuStreamWaitEvent(void*, Event*, unsigned) { return ready(); }
API Result cuStreamIsCapturing(void*, int* out) { return *out = 0, SUCCESS; }

API Result cuEventCreate(Event** out, unsigned) {
    if (Result r = ready()) return r;
    return *out = new Event, SUCCESS;
}
API Result cuEventDestroy_v2(Event* event) {
    return later([=] { return delete event, SUCCESS; });
}
API Result cuEventRecord(Event* event, void*) {
    if (Result r = ready()) return r;
    std::lock_guard<std::recursive_mutex> held(order);
    event->waiting++;
    return later([=] { return event->waiting--, event->when = std::chrono::steady_clock::now(), SUCCESS; });
}
// Not done, until somebody has looked so often that he seems to wait for it.
API Result cuEventQuery(Event* event) {
    if (Result r = ready()) return r;
    std::lock_guard<std::recursive_mutex> held(order);
    if (!event->waiting) return event->asked = 0, SUCCESS;
    return ++event->asked < 100 ? NOT_READY : finish();
}
API Result cuEventSynchronize(Event*) { return finish(); }
API Result cuEventElapsedTime_v2(float* out, Event* from, Event* to) {
    return *out = std::chrono::duration<float, std::milli>(to->when - from->when).count(), SUCCESS;
}
API Result cuEventElapsedTime(float* out, Event* from, Event* to) { return cuEventElapsedTime_v2(out, from, to); }

API Result cuMemAllocAsync(Pointer* out, size_t bytes, void*) {
    if (Result r = ready()) return r;
    void* taken = memory().take(bytes);
    if (!taken) return OUT_OF_MEMORY;
    return *out = reinterpret_cast<Pointer>(taken), SUCCESS;
}
// Unlike a pool, it refuses an array of nothing.
API Result cuMemAlloc_v2(Pointer* out, size_t bytes) { return bytes ? cuMemAllocAsync(out, bytes, nullptr) : INVALID_VALUE; }
API Result cuMemFreeAsync(Pointer at, void*) {
    if (Result r = ready()) return r;
    void* array = reinterpret_cast<void*>(at);
    if (!at) return SUCCESS;
    if (!memory().give_up(array)) return fault(INVALID_VALUE, "memory is given back that is not there, or not any more");
    return later([=] {
        return memory().release(array) ? SUCCESS : fault(ILLEGAL_ADDRESS, "something wrote outside of an array");
    });
}
API Result cuMemFree_v2(Pointer at) {
    Result r = cuMemFreeAsync(at, nullptr);
    return r ? r : finish();
}
API Result cuMemGetInfo_v2(size_t* free, size_t* total) {
    if (Result r = ready()) return r;
    return *free = memory().free(), *total = memory().total(), SUCCESS;
}
API Result cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    if (Result r = ready()) return r;
    *out = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    if (!*out) return OUT_OF_MEMORY;
    std::lock_guard<std::recursive_mutex> held(order);
    return pinned[reinterpret_cast<Pointer>(*out)] = bytes, SUCCESS;
}
API Result cuMemFreeHost(void* at) {
    finish();
    std::lock_guard<std::recursive_mutex> held(order);
    if (!pinned.erase(reinterpret_cast<Pointer>(at))) return fault(INVALID_VALUE, "this memory was never pinned");
    return std::free(at), SUCCESS;
}

API Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void*) {
    const size_t TAKEN_AT_ONCE = 64 << 10;
    if (Result r = within(to, bytes, "an upload")) return r;
    Pointer source = reinterpret_cast<Pointer>(from);
    if (is_pinned(from, bytes)) return later([=] { return copy(to, source, bytes); });
    if (bytes > TAKEN_AT_ONCE) {
        Result r = finish();
        return r ? r : copy(to, source, bytes);
    }
    std::string taken(static_cast<const char*>(from), bytes);
    return later([=] { return copy(to, reinterpret_cast<Pointer>(taken.data()), taken.size()); });
}
API Result cuMemcpyHtoD_v2(Pointer to, const void* from, size_t bytes) {
    Result r = cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
    return r ? r : finish();
}
API Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void*) {
    if (Result r = within(from, bytes, "a download")) return r;
    Result r = later([=] { return copy(reinterpret_cast<Pointer>(to), from, bytes); });
    return r || is_pinned(to, bytes) ? r : finish();
}
API Result cuMemcpyDtoH_v2(void* to, Pointer from, size_t bytes) {
    Result r = cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
    return r ? r : finish();
}
API Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void*) {
    if (Result r = within(to, bytes, "what a copy writes")) return r;
    if (Result r = within(from, bytes, "what a copy reads")) return r;
    return later([=] { return copy(to, from, bytes); });
}
API Result cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t bytes) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}
API Result cuMemsetD8Async(Pointer at, unsigned char value, size_t bytes, void*) {
    if (Result r = within(at, bytes, "what is set")) return r;
    return later([=] {
        if (bytes) memset(reinterpret_cast<void*>(at), value, bytes);
        return SUCCESS;
    });
}
API Result cuMemsetD8_v2(Pointer at, unsigned char value, size_t bytes) {
    return cuMemsetD8Async(at, value, bytes, nullptr);
}

API Result cuDeviceGetDefaultMemPool(void** out, int device) { return *out = &contexts[device], SUCCESS; }
API Result cuMemPoolSetAttribute(void*, int, void*) { return SUCCESS; }
API Result cuMemPoolGetAttribute(void*, int attribute, void* out) {
    enum { RESERVED = 5, MOST_RESERVED = 6, USED = 7, MOST_USED = 8 };
    bool most = attribute == MOST_RESERVED || attribute == MOST_USED;
    if (!most && attribute != RESERVED && attribute != USED) {
        return fault(INVALID_VALUE, "attribute %d of a pool is not known here", attribute);
    }
    size_t used = memory().total() - memory().free();
    return *static_cast<uint64_t*>(out) = most ? memory().peak() : used, SUCCESS;
}

API Result cuModuleLoadData(Module** out, const void* image) {
    if (Result r = ready()) return r;
    if (version() < BUILT_FOR) return UNSUPPORTED_PTX_VERSION;
    const std::string mark = "kernels for a rehearsal: ";
    const char* text = static_cast<const char*>(image);
    if (strncmp(text, mark.c_str(), mark.size()) != 0) return fault(INVALID_IMAGE, "machine code of another build");
    text += mark.size();
    Module* module = new Module{std::string(text, strcspn(text, "\n")), nullptr, {}};
    module->library = dlopen(kernels_of(module->source).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!module->library) {
        return fault(FILE_NOT_FOUND, "no kernels of %s: %s", module->source.c_str(), dlerror());
    }
    return *out = module, SUCCESS;
}
API Result cuModuleLoadDataEx(Module** out, const void* image, unsigned, int*, void**) {
    return cuModuleLoadData(out, image);
}
API Result cuModuleUnload(Module*) { return SUCCESS; }
API Result cuModuleGetFunction(Function** out, Module* module, const char* name) {
    if (Result r = ready()) return r;
    std::lock_guard<std::recursive_mutex> held(order);
    Function*& function = module->functions[name];
    if (!function) {
        void* run = dlsym(module->library, (std::string("emulated_launch_") + name).c_str());
        void* describe = dlsym(module->library, (std::string("emulated_describe_") + name).c_str());
        if (!run || !describe) return fault(NOT_FOUND, "%s has no kernel %s", module->source.c_str(), name);
        function = new Function{name, reinterpret_cast<int (*)(const Launch*)>(run), 0, {}, {}};
        auto described = reinterpret_cast<size_t (*)(size_t*, unsigned char*)>(describe);
        function->parameters = described(function->bytes, function->pointers);
        if (function->parameters > 64 || *std::max_element(function->bytes, function->bytes + 64) > 8) {
            return fault(INVALID_IMAGE, "%s has more or wider parameters than are taken here", name);
        }
        known.push_back(function);
    }
    return *out = function, SUCCESS;
}

API Result cuFuncGetAttribute(int* out, int attribute, Function* function) {
    const int THREADS = 0, MOST_SHARED = 8;
    if (attribute == THREADS) return *out = 1024, SUCCESS;
    if (attribute == MOST_SHARED) return *out = int(function->most_shared), SUCCESS;
    return fault(INVALID_VALUE, "attribute %d of a kernel is not known here", attribute);
}
API Result cuFuncSetAttribute(Function* function, int attribute, int value) {
    if (Result r = ready()) return r;
    const int MOST_SHARED = 8, CARVEOUT = 9;
    if (attribute == CARVEOUT) return SUCCESS;
    if (attribute != MOST_SHARED || value < 0 || unsigned(value) > SHARED_ON_REQUEST) return INVALID_VALUE;
    return function->most_shared = std::max(SHARED, unsigned(value)), SUCCESS;
}
API Result cuFuncSetCacheConfig(Function*, int) { return SUCCESS; }
API Result cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* out, Function*, int threads, size_t shared, unsigned) {
    int by_shared = shared ? int((228 << 10) / (shared + 1024)) : 32;
    return *out = std::min({32, 2048 / std::max(threads, 1), by_shared}), SUCCESS;
}
API Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* out, Function* function, int threads, size_t shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, function, threads, shared, 0);
}

API Result cuLaunchKernel(Function* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void*, void** arguments, void** extra) {
    if (Result r = ready()) return r;
    const char* name = function->name.c_str();
    if (extra || !gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535 || !bx || !by || !bz || bz > 64 ||
        size_t(bx) * by * bz > 1024) {
        return fault(INVALID_VALUE, "%s: no GPU runs %u x %u x %u blocks of %u x %u x %u threads", name, gx, gy, gz, bx,
                     by, bz);
    }
    if (shared > function->most_shared) {
        return fault(INVALID_VALUE, "%s: %u bytes of shared memory, of which %u were asked for", name, shared,
                     function->most_shared);
    }
    std::vector<uint64_t> values(function->parameters);
    for (size_t i = 0; i < function->parameters; i++) {
        memcpy(&values[i], arguments[i], function->bytes[i]);
        void* array = reinterpret_cast<void*>(values[i]);
        if (function->pointers[i] && array && !memory().has(array, 0)) {
            return broken = fault(ILLEGAL_ADDRESS, "%s: argument %zu leads to memory that is not there", name, i);
        }
    }
    Launch launch = {{gx, gy, gz}, {bx, by, bz}, shared, 0, nullptr, nullptr, 0};
    return later([=] { return run(function, launch, values); });
}
