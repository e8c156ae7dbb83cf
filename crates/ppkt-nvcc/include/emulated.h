// CUDA C++ on the CPU: enough of it to run a kernel's logic in a test.
//
// Blocks run one after another, each thread of a block until it ends or waits: at __syncthreads, or at an operation of
// its warp until the named lanes have come. One that waits keeps its stack, and the next goes on with another; so a
// kernel in which nobody waits is a loop over its threads. Found out: threads of a block at
// different barriers or gone from one, lanes that wait for a lane that is gone, accesses that are not aligned, indices
// outside of arrays of known size, cp.async that is read before it was waited for. Not found out: what depends on the
// hardware (races that no order of threads tried here shows, memory order between blocks, speed).
#pragma once

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <utility>
#include <vector>

#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
// A block has ended before the next one begins.
#define __shared__ static
// How kernels are found in the preprocessed text.
#define __global__ __attribute__((used))

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#define EMULATED_VECTORS(T, name)                                                                \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                           \
    struct name##3 { T x, y, z; };                                                               \
    struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; };           \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                   \
    inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                           \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATED_VECTORS(float, float)
EMULATED_VECTORS(double, double)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(unsigned, uint)
EMULATED_VECTORS(unsigned short, ushort)
EMULATED_VECTORS(unsigned char, uchar)
EMULATED_VECTORS(long long, longlong)
EMULATED_VECTORS(unsigned long long, ulonglong)

namespace emulated {

enum Status { NEW, READY, AT_BLOCK, AT_WARP, DONE };

struct Copy {
    void* to;
    const void* from;
    unsigned bytes;
    bool valid;
};

struct Fiber {
    uint3 thread;
    unsigned linear;
    Status status;
    int line;       // of the barrier
    unsigned lanes;  // that the warp's operation waits for
    const char* what;
    jmp_buf state;
    std::vector<Copy> copies;
    std::vector<unsigned> groups;  // numbers of copies
};

struct Stack {
    unsigned char* memory;
    bool begun;
    ucontext_t first;
    jmp_buf idle;
};

// Where the lanes of a warp meet.
struct Warp {
    unsigned arrived = 0;
    alignas(16) unsigned char slots[32][16];
    uint32_t a[32][4], b[32][2];
    const void* rows[32];
};

constexpr size_t STACK = 256 * 1024;

struct Launch {
    unsigned grid[3], block[3];
    size_t shared_bytes;
    int reverse;
    void** arguments;
    char* message;
    size_t message_bytes;
};

static Fiber* current;
static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
static size_t n_begun;  // threads of the block
static std::vector<Stack*> stacks, idle_stacks;
static Stack* entered;
static jmp_buf scheduler;
static uint3 block_index;
static dim3 block_dim, grid_dim;
static unsigned char* dynamic_shared;
static int sum_at_barrier, votes;
static void (*body)(void**);
static void** body_arguments;
static const Launch* launch;
static bool failed;

// Notes what is wrong; the launch ends with it.
__attribute__((format(printf, 1, 2))) static void fail(const char* format, ...) {
    if (failed) return;
    failed = true;
    va_list list;
    va_start(list, format);
    int n = 0;
    if (current) {
        n = snprintf(launch->message, launch->message_bytes, "block (%u, %u, %u), thread (%u, %u, %u): ", block_index.x,
                     block_index.y, block_index.z, current->thread.x, current->thread.y, current->thread.z);
    }
    vsnprintf(launch->message + n, launch->message_bytes - n, format, list);
    va_end(list);
}

[[noreturn]] static void to_scheduler() { _longjmp(scheduler, 1); }

[[noreturn]] static void stop() { to_scheduler(); }

static void yield() {
    if (!_setjmp(current->state)) to_scheduler();
}

static void on_signal(int number) {
    fail(number == SIGILL || number == SIGTRAP
             ? "an access that is not aligned, an index outside of its array, or a shift by more than there is"
             : "an access to memory that is nobody's, or a stack of more than 256 kB");
    to_scheduler();
}

// Makes the next thread of the block the current one; false where all have begun.
static bool begin_next() {
    size_t n = fibers.size();
    if (n_begun == n || failed) return false;
    current = &fibers[launch->reverse ? n - 1 - n_begun : n_begun];
    n_begun++;
    current->status = READY;
    return true;
}

// What runs on a stack: threads, until one waits. When that one has ended too, the stack is free for others.
static void stack_main() {
    Stack* own = entered;
    for (;;) {
        while (begin_next()) {
            body(body_arguments);
            current->status = DONE;
        }
        if (!_setjmp(own->idle)) {
            idle_stacks.push_back(own);
            to_scheduler();
        }
    }
}

// Begins threads on a stack of their own.
static void enter() {
    if (idle_stacks.empty()) {
        void* memory = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            fail("no memory for the stacks of %zu threads", fibers.size());
            return;
        }
        stacks.push_back(new Stack{static_cast<unsigned char*>(memory), false, {}, {}});
        idle_stacks.push_back(stacks.back());
    }
    entered = idle_stacks.back();
    idle_stacks.pop_back();
    if (_setjmp(scheduler)) {
        current = nullptr;
    } else if (entered->begun) {
        _longjmp(entered->idle, 1);
    } else {
        entered->begun = true;
        getcontext(&entered->first);
        entered->first.uc_stack.ss_sp = entered->memory;
        // Beginnings that differ, so that not all of them fall together in the processor's cache.
        entered->first.uc_stack.ss_size = STACK - stacks.size() % 64 * 320;
        entered->first.uc_link = nullptr;
        makecontext(&entered->first, stack_main, 0);
        setcontext(&entered->first);
    }
}

static void resume(Fiber& fiber) {
    current = &fiber;
    if (!_setjmp(scheduler)) _longjmp(fiber.state, 1);
    current = nullptr;
}

// All threads of the block; `vote` is what __syncthreads_or and its kin combine.
static int block_barrier(int line, int vote) {
    current->status = AT_BLOCK;
    current->line = line;
    votes += vote != 0;
    yield();
    return sum_at_barrier;
}

// The named lanes of the warp.
static void warp_barrier(unsigned lanes, const char* what) {
    unsigned lane = current->linear % 32, first = current->linear - lane;
    if (!(lanes >> lane & 1)) {
        fail("%s names the lanes %08x, and not the one that calls it", what, lanes);
        stop();
    }
    Warp& warp = warps[current->linear / 32];
    current->status = AT_WARP;
    current->lanes = lanes;
    current->what = what;
    warp.arrived |= 1u << lane;
    if ((warp.arrived & lanes) != lanes) {
        yield();
        return;
    }
    for (unsigned l = 0; l < 32; l++) {
        if (!(lanes >> l & 1)) continue;
        Fiber& other = fibers[first + l];
        if (other.lanes != lanes || other.what != what) {
            fail("%s of the lanes %08x meets %s of the lanes %08x in lane %u", what, lanes, other.what, other.lanes, l);
            stop();
        }
        other.status = READY;
    }
    warp.arrived &= ~lanes;
}

static void run_block() {
    size_t n = fibers.size();
    for (Fiber& fiber : fibers) {
        fiber.status = NEW;
        fiber.copies.clear();
        fiber.groups.clear();
    }
    for (Warp& warp : warps) warp.arrived = 0;
    votes = 0;
    n_begun = 0;
    // What was not written is not a number, and as an index it is out of range.
    memset(dynamic_shared, 0xff, launch->shared_bytes + 256);
    for (;;) {
        bool any = false;
        for (size_t i = 0; i < n && !failed; i++) {
            Fiber& fiber = fibers[launch->reverse ? n - 1 - i : i];
            if (fiber.status == NEW) {
                any = true;
                enter();
            } else if (fiber.status == READY) {
                any = true;
                resume(fiber);
            }
        }
        if (failed) return;
        if (any) continue;
        size_t done = 0, waiting = 0;
        for (Fiber& fiber : fibers) {
            done += fiber.status == DONE;
            waiting += fiber.status == AT_BLOCK;
        }
        if (done == n) break;
        if (waiting == n) {
            for (Fiber& fiber : fibers) {
                if (fiber.line != fibers[0].line) {
                    current = &fiber;
                    fail("waits at the barrier of line %d, and thread 0 at that of line %d", fiber.line, fibers[0].line);
                    return;
                }
                fiber.status = READY;
            }
            sum_at_barrier = votes;
            votes = 0;
            continue;
        }
        for (Fiber& fiber : fibers) {
            current = &fiber;
            if (fiber.status == AT_WARP) {
                fail("%s waits for lanes of %08x that have ended or wait elsewhere", fiber.what, fiber.lanes);
            }
            if (fiber.status == AT_BLOCK && done > 0) {
                fail("waits at the barrier of line %d for %zu threads that have ended", fiber.line, done);
            }
            if (failed) return;
        }
    }
    for (size_t i = 0; i < 256; i++) {
        if (dynamic_shared[launch->shared_bytes + i] != 0xff) {
            current = nullptr;
            fail("block (%u, %u, %u) wrote behind its %zu bytes of shared memory", block_index.x, block_index.y,
                 block_index.z, launch->shared_bytes);
            return;
        }
    }
}

static int run(const Launch* asked, void (*kernel)(void**)) {
    launch = asked;
    body = kernel;
    body_arguments = asked->arguments;
    failed = false;
    current = nullptr;
    block_dim = {asked->block[0], asked->block[1], asked->block[2]};
    grid_dim = {asked->grid[0], asked->grid[1], asked->grid[2]};
    size_t threads = size_t(block_dim.x) * block_dim.y * block_dim.z;
    if (threads == 0 || threads > 1024 || grid_dim.y > 65535 || grid_dim.z > 65535 ||
        size_t(grid_dim.x) * grid_dim.y * grid_dim.z == 0 || asked->shared_bytes > 227 * 1024) {
        fail("a GPU refuses this launch: 1 to 1024 threads, at least one block, at most 227 kB of shared memory");
        return 1;
    }
    std::vector<unsigned char> shared(asked->shared_bytes + 256 + 128);
    dynamic_shared = shared.data() + (128 - reinterpret_cast<uintptr_t>(shared.data()) % 128) % 128;
    fibers.clear();
    fibers.resize(threads);
    warps.clear();
    warps.resize((threads + 31) / 32);
    for (unsigned i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        fiber.linear = i;
        fiber.thread = {i % block_dim.x, i / block_dim.x % block_dim.y, i / (block_dim.x * block_dim.y)};
    }
    // A fault in a kernel becomes a message. SA_NODEFER: the handler is left by a jump.
    const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE};
    struct sigaction before[5], action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_NODEFER;
    for (int i = 0; i < 5; i++) sigaction(numbers[i], &action, &before[i]);
    size_t blocks = size_t(grid_dim.x) * grid_dim.y * grid_dim.z;
    for (size_t i = 0; i < blocks && !failed; i++) {
        size_t at = launch->reverse ? blocks - 1 - i : i;
        block_index = {unsigned(at % grid_dim.x), unsigned(at / grid_dim.x % grid_dim.y),
                       unsigned(at / (size_t(grid_dim.x) * grid_dim.y))};
        run_block();
    }
    for (int i = 0; i < 5; i++) sigaction(numbers[i], &before[i], nullptr);
    current = nullptr;
    if (failed) {
        // Threads were left where they stood.
        idle_stacks = stacks;
        for (Stack* stack : stacks) stack->begun = false;
    }
    return failed;
}

// A kernel's parameters, taken from a list of pointers to them.
template <class... A>
struct Call {
    static constexpr size_t COUNT = sizeof...(A);
    template <size_t... I>
    static void with(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_const_t<A>*>(arguments[I])...);
    }
    static size_t describe(size_t* bytes, unsigned char* pointers) {
        size_t all[] = {sizeof(A)..., 0};
        bool are[] = {std::is_pointer<A>::value..., false};
        for (size_t i = 0; i < COUNT && i < 64; i++) {
            bytes[i] = all[i];
            pointers[i] = are[i];
        }
        return COUNT;
    }
};
template <class... A>
Call<A...> call_of(void (*)(A...)) {
    return {};
}

}  // namespace emulated

// What the test side calls. `bytes` and `pointers` have room for 64 parameters.
#define EMULATED_KERNEL(name)                                                                                  \
    extern "C" __attribute__((visibility("default"))) size_t emulated_describe_##name(size_t* bytes,           \
                                                                                      unsigned char* pointers) { \
        return decltype(emulated::call_of(name))::describe(bytes, pointers);                                   \
    }                                                                                                          \
    extern "C" __attribute__((visibility("default"))) int emulated_launch_##name(const emulated::Launch* l) {  \
        return emulated::run(l, [](void** arguments) {                                                         \
            using Call = decltype(emulated::call_of(name));                                                    \
            Call::with(name, arguments, std::make_index_sequence<Call::COUNT>());                              \
        });                                                                                                    \
    }

#define threadIdx (::emulated::current->thread)
#define blockIdx (::emulated::block_index)
#define blockDim (::emulated::block_dim)
#define gridDim (::emulated::grid_dim)
static const int warpSize = 32;

#include "emulated_intrinsics.h"
