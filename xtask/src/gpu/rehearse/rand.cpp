// A stand-in for cuRAND that runs on the processor, for `cargo xtask gpu rehearse`: numbers of the right distributions,
// not cuRAND's own. Functions that are not here fail and say their name.
#include <cmath>
#include <cstddef>
#include <random>

#define API extern "C" __attribute__((visibility("default")))
extern "C" bool rehearsal_has(const void* pointer, size_t bytes);
extern "C" bool rehearsal_finish();

enum Status { SUCCESS = 0, NOT_INITIALIZED = 101, OUT_OF_RANGE = 104, LENGTH_NOT_MULTIPLE = 105, PREEXISTING_FAILURE = 202 };
typedef std::mt19937_64 Generator;

namespace {

template <class T, class F>
Status fill(Generator* generator, T* to, size_t n, F f) {
    if (!generator) return NOT_INITIALIZED;
    if (n && !rehearsal_has(to, n * sizeof(T))) return OUT_OF_RANGE;
    if (!rehearsal_finish()) return PREEXISTING_FAILURE;
    for (size_t i = 0; i < n; i++) to[i] = f(*generator);
    return SUCCESS;
}

// In (0, 1].
template <class T>
Status uniform(Generator* generator, T* to, size_t n) {
    return fill(generator, to, n, [](Generator& g) { return T((double(g() >> 40) + 1) * 0x1p-24); });
}

// In pairs, as cuRAND makes them.
template <class T>
Status normal(Generator* generator, T* to, size_t n, T mean, T deviation) {
    if (n % 2) return LENGTH_NOT_MULTIPLE;
    std::normal_distribution<double> one;
    return fill(generator, to, n, [&](Generator& g) { return T(mean + deviation * one(g)); });
}

}  // namespace

API Status curandCreateGenerator(Generator** out, int) { return *out = new Generator, SUCCESS; }
API Status curandDestroyGenerator(Generator* generator) { return delete generator, SUCCESS; }
API Status curandSetPseudoRandomGeneratorSeed(Generator* generator, unsigned long long seed) {
    return generator->seed(seed), SUCCESS;
}
API Status curandSetStream(Generator*, void*) { return SUCCESS; }
API Status curandGenerateUniform(Generator* g, float* to, size_t n) { return uniform(g, to, n); }
API Status curandGenerateUniformDouble(Generator* g, double* to, size_t n) { return uniform(g, to, n); }
API Status curandGenerateNormal(Generator* g, float* to, size_t n, float mean, float deviation) {
    return normal(g, to, n, mean, deviation);
}
API Status curandGenerateNormalDouble(Generator* g, double* to, size_t n, double mean, double deviation) {
    return normal(g, to, n, mean, deviation);
}
