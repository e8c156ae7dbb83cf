// Memory of the stand-in for a GPU: plain memory of the processor, watched.
//
// Each array lies between guards, which are looked at after every kernel that was given the array, when it is freed and
// when the program ends. What was not written is not a number, and -1 as an index.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string>

namespace rehearsal {

constexpr size_t GUARD = 512;  // bytes on either side; a GPU's arrays begin at multiples of this
constexpr unsigned char UNWRITTEN = 0xff;

inline long setting(const char* name, long otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::atol(text) : otherwise;
}

struct Array {
    size_t bytes;
    bool given_up;  // it is freed once the work before is done
};

class Memory {
    std::recursive_mutex lock;
    std::map<uintptr_t, Array> arrays;  // by their first byte
    size_t limit = size_t(setting("PPKT_REHEARSAL_MEMORY_MIB", 8192)) << 20, used = 0, most = 0;

    std::map<uintptr_t, Array>::iterator of(uintptr_t at) {
        auto next = arrays.upper_bound(at);
        if (next == arrays.begin()) return arrays.end();
        auto found = std::prev(next);
        return at <= found->first + found->second.bytes ? found : arrays.end();
    }

    static bool whole(uintptr_t at, size_t bytes) {
        auto unchanged = [](uintptr_t from, size_t n) {
            const unsigned char* p = reinterpret_cast<const unsigned char*>(from);
            return *p == UNWRITTEN && memcmp(p, p + 1, n - 1) == 0;
        };
        return unchanged(at - GUARD, GUARD) && unchanged(at + bytes, GUARD);
    }

  public:
    // Null where the limit is reached.
    void* take(size_t bytes) {
        std::lock_guard<std::recursive_mutex> held(lock);
        if (used + bytes > limit) return nullptr;
        size_t all = (GUARD + bytes + GUARD + GUARD - 1) / GUARD * GUARD;
        unsigned char* memory = static_cast<unsigned char*>(std::aligned_alloc(GUARD, all));
        if (!memory) return nullptr;
        memset(memory, UNWRITTEN, all);
        arrays[reinterpret_cast<uintptr_t>(memory + GUARD)] = {bytes, false};
        used += bytes;
        if (used > most) most = used;
        return memory + GUARD;
    }

    // From now on nobody may ask for work on it. False where there is no such array, or not any more.
    bool give_up(void* pointer) {
        std::lock_guard<std::recursive_mutex> held(lock);
        auto found = arrays.find(reinterpret_cast<uintptr_t>(pointer));
        if (found == arrays.end() || found->second.given_up) return false;
        found->second.given_up = true;
        used -= found->second.bytes;
        return true;
    }

    // Frees what was given up. False where something wrote outside of it.
    bool release(void* pointer) {
        std::lock_guard<std::recursive_mutex> held(lock);
        auto found = arrays.find(reinterpret_cast<uintptr_t>(pointer));
        bool right = whole(found->first, found->second.bytes);
        memset(pointer, UNWRITTEN, found->second.bytes);
        arrays.erase(found);
        std::free(static_cast<unsigned char*>(pointer) - GUARD);
        return right;
    }

    // Whether all bytes lie in one array. An array's end is part of it: views of nothing begin there.
    bool has(const void* pointer, size_t bytes) {
        std::lock_guard<std::recursive_mutex> held(lock);
        uintptr_t at = reinterpret_cast<uintptr_t>(pointer);
        auto found = of(at);
        return found != arrays.end() && !found->second.given_up && at + bytes <= found->first + found->second.bytes;
    }

    // Whether the guards of the array are as they were.
    bool guarded(const void* pointer) {
        std::lock_guard<std::recursive_mutex> held(lock);
        auto found = of(reinterpret_cast<uintptr_t>(pointer));
        return found == arrays.end() || whole(found->first, found->second.bytes);
    }

    bool all_guarded() {
        std::lock_guard<std::recursive_mutex> held(lock);
        for (auto& array : arrays) {
            if (!whole(array.first, array.second.bytes)) return false;
        }
        return true;
    }

    size_t total() const { return limit; }
    size_t free() const { return limit - used; }
    size_t peak() const { return most; }
};

}  // namespace rehearsal
