// A stand-in for cuBLAS that runs on the processor, for `cargo xtask gpu rehearse`: the matrix products that candle asks
// for, summed in double precision. Arguments are held against each other as cuBLAS does, and against the arrays that
// driver.cpp knows. Functions that are not here fail and say their name.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))
extern "C" bool rehearsal_has(const void* pointer, size_t bytes);
extern "C" bool rehearsal_finish();

enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Type { F32 = 0, F64 = 1, F16 = 2, BF16 = 14 };
enum Operation { AS_IT_IS = 0, TRANSPOSED = 1 };

namespace {

const int BUILT_FOR = 13000;

Status fault(Status status, const char* what) {
    return fprintf(stderr, "the stand-in for a GPU: a matrix product %s\n", what), status;
}

size_t bytes_of(int type) { return type == F64 ? 8 : type == F32 ? 4 : type == F16 || type == BF16 ? 2 : 0; }

float from_f16(uint16_t bits) {
    uint32_t sign = uint32_t(bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size = exponent == 0 ? float(fraction) * 0x1p-24f : 0.0f;
    uint32_t u = exponent == 31 ? 0x7f800000u | fraction << 13 : (exponent + 112) << 23 | fraction << 13;
    if (exponent != 0) memcpy(&size, &u, 4);
    memcpy(&u, &size, 4);
    u |= sign;
    memcpy(&size, &u, 4);
    return size;
}

double load(const void* at, size_t i, int type) {
    if (type == F64) return static_cast<const double*>(at)[i];
    if (type == F32) return static_cast<const float*>(at)[i];
    uint16_t bits = static_cast<const uint16_t*>(at)[i];
    if (type == F16) return from_f16(bits);
    uint32_t u = uint32_t(bits) << 16;
    float v;
    memcpy(&v, &u, 4);
    return v;
}

void store(void* at, size_t i, int type, double value) {
    if (type == F64) {
        static_cast<double*>(at)[i] = value;
    } else if (type == F32) {
        static_cast<float*>(at)[i] = float(value);
    } else if (type == F16) {
        _Float16 v = _Float16(float(value));
        memcpy(static_cast<uint16_t*>(at) + i, &v, 2);
    } else {
        float v = float(value);
        uint32_t u;
        memcpy(&u, &v, 4);
        u = v != v ? 0x7fff0000u : u + 0x7fffu + (u >> 16 & 1);
        static_cast<uint16_t*>(at)[i] = uint16_t(u >> 16);
    }
}

struct Matrix {
    const void* at;
    int type;
    int64_t leading, stride;
};

// C = alpha op(A) op(B) + beta C for each of a batch; columns lie one behind the other.
Status product(int op_a, int op_b, int64_t m, int64_t n, int64_t k, double alpha, Matrix a, Matrix b, double beta,
               Matrix c, int64_t batch) {
    if (m < 0 || n < 0 || k < 0 || batch < 0) return fault(INVALID_VALUE, "of a negative size");
    if ((op_a != AS_IT_IS && op_a != TRANSPOSED) || (op_b != AS_IT_IS && op_b != TRANSPOSED)) {
        return fault(NOT_SUPPORTED, "of conjugates");
    }
    int64_t rows_a = op_a == AS_IT_IS ? m : k, rows_b = op_b == AS_IT_IS ? k : n;
    auto least = [](int64_t rows) { return rows > 1 ? rows : 1; };
    if (a.leading < least(rows_a) || b.leading < least(rows_b) || c.leading < least(m)) {
        return fault(INVALID_VALUE, "with a column that runs into the next");
    }
    if (!bytes_of(a.type) || !bytes_of(b.type) || !bytes_of(c.type)) return fault(NOT_SUPPORTED, "of unknown numbers");
    if (m == 0 || n == 0 || batch == 0) return SUCCESS;
    auto inside = [&](const Matrix& x, int64_t rows, int64_t columns) {
        if (rows == 0 || columns == 0) return true;
        int64_t last = (batch - 1) * x.stride + (columns - 1) * x.leading + rows;
        return rehearsal_has(x.at, size_t(last) * bytes_of(x.type));
    };
    if (!inside(a, rows_a, op_a == AS_IT_IS ? k : m) || !inside(b, rows_b, op_b == AS_IT_IS ? n : k) ||
        !inside(c, m, n)) {
        return fault(INVALID_VALUE, "that leaves its arrays");
    }
    if (!rehearsal_finish()) return EXECUTION_FAILED;
    std::vector<double> rows(size_t(m) * k), column(k);  // op(A) row after row, a column of op(B)
    for (int64_t p = 0; p < batch; p++) {
        for (int64_t i = 0; i < m; i++) {
            for (int64_t l = 0; l < k; l++) {
                int64_t at = op_a == AS_IT_IS ? i + l * a.leading : l + i * a.leading;
                rows[size_t(i * k + l)] = load(a.at, size_t(p * a.stride + at), a.type);
            }
        }
        for (int64_t j = 0; j < n; j++) {
            for (int64_t l = 0; l < k; l++) {
                int64_t at = op_b == AS_IT_IS ? l + j * b.leading : j + l * b.leading;
                column[size_t(l)] = load(b.at, size_t(p * b.stride + at), b.type);
            }
            for (int64_t i = 0; i < m; i++) {
                const double* row = rows.data() + i * k;
                double sums[4] = {};
                for (int64_t l = 0; l < k; l++) sums[l % 4] += row[l] * column[size_t(l)];
                size_t to = size_t(p * c.stride + j * c.leading + i);
                double value = alpha * (sums[0] + sums[1] + sums[2] + sums[3]);
                if (beta != 0) value += beta * load(c.at, to, c.type);
                store(const_cast<void*>(c.at), to, c.type, value);
            }
        }
    }
    return SUCCESS;
}

// The number behind `at`, of the type that a computation is made in.
bool scalar(const void* at, int computation, double* out) {
    const int IN_F16 = 64, IN_F16_PEDANTIC = 65, IN_F64 = 70, IN_F64_PEDANTIC = 71;
    bool half = computation == IN_F16 || computation == IN_F16_PEDANTIC;
    bool wide = computation == IN_F64 || computation == IN_F64_PEDANTIC;
    if (!half && !wide && (computation < 68 || computation > 78)) return false;
    *out = load(at, 0, half ? F16 : wide ? F64 : F32);
    return true;
}

}  // namespace

API Status cublasCreate_v2(void** out) {
    // As the real one does where the driver is older than it.
    const char* driver = getenv("PPKT_REHEARSAL_DRIVER");
    if (driver && *driver && atoi(driver) < BUILT_FOR) return NOT_INITIALIZED;
    return *out = new char, SUCCESS;
}
API Status cublasGetProperty(int which, int* out) { return *out = which == 0 ? BUILT_FOR / 1000 : 0, SUCCESS; }
API Status cublasDestroy_v2(void* handle) { return delete static_cast<char*>(handle), SUCCESS; }
API Status cublasSetStream_v2(void*, void*) { return SUCCESS; }
API Status cublasSetMathMode(void*, int) { return SUCCESS; }

API Status cublasGemmStridedBatchedEx(void*, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
                                      int type_a, int lda, long long stride_a, const void* b, int type_b, int ldb,
                                      long long stride_b, const void* beta, void* c, int type_c, int ldc,
                                      long long stride_c, int batch, int computation, int) {
    double by, keep;
    if (!scalar(alpha, computation, &by) || !scalar(beta, computation, &keep)) {
        return fault(NOT_SUPPORTED, "computed in an unknown type");
    }
    return product(op_a, op_b, m, n, k, by, {a, type_a, lda, stride_a}, {b, type_b, ldb, stride_b}, keep,
                   {c, type_c, ldc, stride_c}, batch);
}
API Status cublasGemmEx(void* handle, int op_a, int op_b, int m, int n, int k, const void* alpha, const void* a,
                        int type_a, int lda, const void* b, int type_b, int ldb, const void* beta, void* c, int type_c,
                        int ldc, int computation, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c,
                                      type_c, ldc, 0, 1, computation, algorithm);
}
API Status cublasSgemmStridedBatched(void*, int op_a, int op_b, int m, int n, int k, const float* alpha, const float* a,
                                     int lda, long long stride_a, const float* b, int ldb, long long stride_b,
                                     const float* beta, float* c, int ldc, long long stride_c, int batch) {
    return product(op_a, op_b, m, n, k, *alpha, {a, F32, lda, stride_a}, {b, F32, ldb, stride_b}, *beta,
                   {c, F32, ldc, stride_c}, batch);
}
API Status cublasSgemm_v2(void* handle, int op_a, int op_b, int m, int n, int k, const float* alpha, const float* a,
                          int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
    return cublasSgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}
API Status cublasDgemmStridedBatched(void*, int op_a, int op_b, int m, int n, int k, const double* alpha,
                                     const double* a, int lda, long long stride_a, const double* b, int ldb,
                                     long long stride_b, const double* beta, double* c, int ldc, long long stride_c,
                                     int batch) {
    return product(op_a, op_b, m, n, k, *alpha, {a, F64, lda, stride_a}, {b, F64, ldb, stride_b}, *beta,
                   {c, F64, ldc, stride_c}, batch);
}
API Status cublasDgemm_v2(void* handle, int op_a, int op_b, int m, int n, int k, const double* alpha, const double* a,
                          int lda, const double* b, int ldb, const double* beta, double* c, int ldc) {
    return cublasDgemmStridedBatched(handle, op_a, op_b, m, n, k, alpha, a, lda, 0, b, ldb, 0, beta, c, ldc, 0, 1);
}
