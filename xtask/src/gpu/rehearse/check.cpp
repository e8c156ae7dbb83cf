// A test of the stand-ins themselves, linked with driver.cpp and blas.cpp: what they must notice, and matrix products
// against their definition. argv[1] is a source of the kernels `fill` (writes i to a[i] for all i < n) and `wait`
// (threads miss a barrier). Says what is wrong, and exits with 1.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

typedef uintptr_t Pointer;
extern "C" {
int cuDevicePrimaryCtxRetain(void**, int);
int cuCtxSetCurrent(void*);
int cuCtxSynchronize();
int cuMemAllocAsync(Pointer*, size_t, void*);
int cuMemAlloc_v2(Pointer*, size_t);
int cuMemFreeAsync(Pointer, void*);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemcpyHtoDAsync_v2(Pointer, const void*, size_t, void*);
int cuMemcpyDtoHAsync_v2(void*, Pointer, size_t, void*);
int cuMemGetInfo_v2(size_t*, size_t*);
int cuEventCreate(void**, unsigned);
int cuEventRecord(void*, void*);
int cuEventQuery(void*);
int cuModuleLoadData(void**, const void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuFuncSetAttribute(void*, int, int);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cublasSgemmStridedBatched(void*, int, int, int, int, int, const float*, const float*, int, long long, const float*,
                              int, long long, const float*, float*, int, long long, int);
}

static int failures;

static void expect(int got, int want, const char* what) {
    if (got == want) return;
    printf("%s: %d, not %d\n", what, got, want);
    failures++;
}

static int launch(void* kernel, Pointer a, int n, unsigned threads, unsigned shared = 0) {
    void* arguments[] = {&a, &n};
    return cuLaunchKernel(kernel, 1, 1, 1, threads, 1, 1, shared, nullptr, arguments, nullptr);
}

static void products() {
    const int m = 3, n = 4, k = 5, batch = 2;
    for (int op = 0; op < 4; op++) {
        bool ta = op & 1, tb = op & 2;
        std::vector<float> a(m * k * batch), b(k * n * batch), c(m * n * batch, 1.0f);
        for (size_t i = 0; i < a.size(); i++) a[i] = float(i % 7) - 2;
        for (size_t i = 0; i < b.size(); i++) b[i] = float(i % 5) - 1;
        Pointer on[3];
        std::vector<float>* of[] = {&a, &b, &c};
        for (int i = 0; i < 3; i++) {
            cuMemAllocAsync(&on[i], of[i]->size() * 4, nullptr);
            cuMemcpyHtoDAsync_v2(on[i], of[i]->data(), of[i]->size() * 4, nullptr);
        }
        float alpha = 2, beta = 3;
        auto at = [&](int i) { return reinterpret_cast<float*>(on[i]); };
        int leading_a = ta ? k : m, leading_b = tb ? n : k;
        expect(cublasSgemmStridedBatched(nullptr, ta, tb, m, n, k, &alpha, at(0), leading_a, m * k, at(1), leading_b, k * n,
                                         &beta, at(2), m, m * n, batch), 0, "a product");
        expect(cublasSgemmStridedBatched(nullptr, ta, tb, m, n, k, &alpha, at(0), leading_a - 1, m * k, at(1), leading_b,
                                         k * n, &beta, at(2), m, m * n, batch), 7, "a column that is too short");
        expect(cublasSgemmStridedBatched(nullptr, ta, tb, m, n, k, &alpha, at(0), leading_a, m * k, at(1), leading_b, k * n,
                                         &beta, at(2), m, m * n, batch + 1), 7, "a product beyond its arrays");
        cuMemcpyDtoHAsync_v2(c.data(), on[2], c.size() * 4, nullptr);
        for (int p = 0; p < batch; p++) {
            for (int i = 0; i < m * n; i++) {
                float sum = 0;
                for (int l = 0; l < k; l++) {
                    int row = i % m, column = i / m;
                    sum += a[p * m * k + (ta ? l + row * k : row + l * m)] * b[p * k * n + (tb ? column + l * n : l + column * k)];
                }
                expect(int(c[p * m * n + i]), int(2 * sum + 3), "an element of a product");
            }
        }
    }
}

int main(int, char** argv) {
    void *context, *module, *fill, *wait, *event, *staged;
    Pointer a, b;
    int got[8];
    expect(cuMemAllocAsync(&a, 32, nullptr), 201, "memory without a context");
    cuDevicePrimaryCtxRetain(&context, 0);
    cuCtxSetCurrent(context);

    expect(cuMemAlloc_v2(&a, 0), 1, "an array of nothing");
    expect(cuMemAllocAsync(&a, 32, nullptr), 0, "an array");
    expect(cuMemAllocAsync(&b, size_t(1) << 40, nullptr), 2, "more memory than there is");
    expect(cuMemcpyDtoHAsync_v2(got, a, 32, nullptr), 0, "a download");
    expect(got[7], -1, "fresh memory");
    expect(cuMemcpyDtoHAsync_v2(got, a, 33, nullptr), 1, "a download beyond the array");

    // A buffer that is used again before the GPU has fetched it.
    cuMemHostAlloc(&staged, 4, 0);
    *static_cast<int*>(staged) = 1;
    cuEventCreate(&event, 0);
    cuMemcpyHtoDAsync_v2(a, staged, 4, nullptr);
    cuEventRecord(event, nullptr);
    expect(cuEventQuery(event), 600, "an event that is to come");
    *static_cast<int*>(staged) = 2;
    cuMemcpyDtoHAsync_v2(got, a, 4, nullptr);
    expect(got[0], 2, "what is fetched late");
    expect(cuEventQuery(event), 0, "an event that has come");
    products();

    std::string image = "kernels for a rehearsal: " + std::string(argv[1]) + "\n";
    expect(cuModuleLoadData(&module, "something else\n"), 200, "machine code of another kind");
    expect(cuModuleLoadData(&module, image.c_str()), 0, "a module");
    expect(cuModuleGetFunction(&fill, module, "full"), 500, "a kernel that is not there");
    expect(cuModuleGetFunction(&fill, module, "fill"), 0, "a kernel");
    expect(cuModuleGetFunction(&wait, module, "wait"), 0, "a kernel");
    expect(launch(fill, a, 8, 1025), 1, "too many threads");
    expect(launch(fill, a, 8, 32, 49 << 10), 1, "shared memory that was not asked for");
    expect(cuFuncSetAttribute(fill, 8, 228 << 10), 1, "more shared memory than there is");
    cuFuncSetAttribute(fill, 8, 64 << 10);
    expect(launch(fill, a, 8, 32, 49 << 10), 0, "shared memory that was asked for");
    cuMemcpyDtoHAsync_v2(got, a, 32, nullptr);
    expect(got[7], 7, "what a kernel wrote");
    size_t before, after, total;
    cuMemGetInfo_v2(&before, &total);
    expect(cuMemFreeAsync(a, nullptr), 0, "giving memory back");
    expect(cuMemFreeAsync(a, nullptr), 1, "giving it back again");
    cuMemGetInfo_v2(&after, &total);
    expect(int(after - before), 32, "memory that came back");

    // What leaves a context that only tells of the error: a way each, chosen from outside.
    cuMemAllocAsync(&b, 32, nullptr);
    std::string how = argv[2];
    if (how == "given-up") expect(launch(fill, a, 8, 32), 700, "an array that was given up");
    if (how == "beyond") launch(fill, b, 9, 32);
    if (how == "barrier") launch(wait, b, 8, 32);
    expect(cuCtxSynchronize(), how == "barrier" ? 719 : 700, how.c_str());
    expect(cuMemAllocAsync(&a, 32, nullptr), how == "barrier" ? 719 : 700, "a call after the error");
    fflush(stdout);
    _Exit(failures ? 1 : 0);
}
