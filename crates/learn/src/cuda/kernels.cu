// What the networks do to numbers on the device, beside products of matrices. Compiled when a device is opened.
//
// Every sum has one order, so that the same seed gives the same weights: no kernel adds atomically.

typedef unsigned long long word64;

#define EACH(n)                                        \
    const int i = blockIdx.x * blockDim.x + threadIdx.x; \
    if (i >= (n)) return

// The sum over the threads of a block of at most 1024, in thread 0.
__device__ double block_sum(double x) {
    __shared__ double warps[32];
    for (int step = 16; step > 0; step /= 2) x += __shfl_down_sync(0xffffffffu, x, step);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    if (threadIdx.x >= 32) return 0.0;
    x = threadIdx.x < (blockDim.x + 31) / 32 ? warps[threadIdx.x] : 0.0;
    for (int step = 16; step > 0; step /= 2) x += __shfl_down_sync(0xffffffffu, x, step);
    return x;
}

// The sum of many numbers by one block, in thread 0.
__device__ double sum_of(const double* sums, int count) {
    double sum = 0.0;
    for (int k = threadIdx.x; k < count; k += blockDim.x) sum += sums[k];
    return block_sum(sum);
}

extern "C" {

// ---- single numbers

__global__ void scale_by(float* x, const float* factor, int n) {
    EACH(n);
    x[i] *= factor[0];
}

__global__ void add_to(float* y, const float* x, int n) {
    EACH(n);
    y[i] += x[i];
}

__global__ void add_bias(float* y, const float* gain, const float* bias, int columns, int n) {
    EACH(n);
    y[i] = (gain ? gain[0] : 1.0f) * y[i] + bias[i % columns];
}

__device__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ float soft_plus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

// Functions as `network.rs` counts them.
__global__ void activation(const float* x, float* y, int function, int n) {
    EACH(n);
    const float a = x[i];
    switch (function) {
        case 0: y[i] = fmaxf(a, 0.0f); break;
        case 1: y[i] = a > 0.0f ? a : 0.2f * a; break;
        case 2: y[i] = a * logistic(a); break;
        case 3: y[i] = a > 0.0f ? a : expm1f(a); break;
        case 4: y[i] = tanhf(a); break;
        case 5: y[i] = logistic(a); break;
        case 6: y[i] = soft_plus(a); break;
        default: y[i] = nanf("");
    }
}

__global__ void activation_pull(const float* x, float* dy, int function, int n) {
    EACH(n);
    const float a = x[i];
    float slope;
    switch (function) {
        case 0: slope = a > 0.0f ? 1.0f : 0.0f; break;
        case 1: slope = a > 0.0f ? 1.0f : 0.2f; break;
        case 2: { const float s = logistic(a); slope = s * (1.0f + a * (1.0f - s)); break; }
        case 3: slope = a > 0.0f ? 1.0f : expf(a); break;
        case 4: { const float t = tanhf(a); slope = 1.0f - t * t; break; }
        case 5: { const float s = logistic(a); slope = s * (1.0f - s); break; }
        case 6: slope = logistic(a); break;
        default: slope = nanf("");
    }
    dy[i] *= slope;
}

// ---- random numbers: Philox4x32-10, the number of `lookback_operator::random` at the same place

__device__ double uniform(word64 index, word64 seed, unsigned c2, unsigned c3) {
    const word64 block = index / 2;
    unsigned c0 = (unsigned)block, c1 = (unsigned)(block >> 32);
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const unsigned high_a = __umulhi(c0, 0xD2511F53u), low_a = c0 * 0xD2511F53u;
        const unsigned high_b = __umulhi(c2, 0xCD9E8D57u), low_b = c2 * 0xCD9E8D57u;
        c0 = high_b ^ c1 ^ k0;
        c2 = high_a ^ c3 ^ k1;
        c1 = low_b;
        c3 = low_a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    const word64 high = index % 2 ? c2 : c0, low = index % 2 ? c3 : c1;
    const word64 bits = (high << 32 | low) >> 12;
    return __longlong_as_double(0x3FFll << 52 | (long long)bits) - (1.0 - 1.1102230246251565e-16);
}

// Numbers left out with probability `rate`; the others times `kept`.
__global__ void dropout(float* x, double rate, float kept, word64 begin, word64 seed, int c2, int c3, int n) {
    EACH(n);
    x[i] = uniform(begin + i, seed, (unsigned)c2, (unsigned)c3) < rate ? 0.0f : x[i] * kept;
}

// ---- patches of images

__global__ void gather_patches(const float* x, float* patches, int height, int width, int channels, int kernel,
                               int stride, int rows, int columns, int top, int left, int n) {
    EACH(n);
    int t = i;
    const int channel = t % channels; t /= channels;
    const int kx = t % kernel; t /= kernel;
    const int ky = t % kernel; t /= kernel;
    const int column = t % columns; t /= columns;
    const int row = t % rows;
    const int image = t / rows;
    const int py = row * stride + ky - top, px = column * stride + kx - left;
    const bool inside = py >= 0 && py < height && px >= 0 && px < width;
    patches[i] = inside ? x[((image * height + py) * width + px) * channels + channel] : 0.0f;
}

__global__ void gather_patches_adjoint(const float* patches, float* x, int height, int width, int channels, int kernel,
                                       int stride, int rows, int columns, int top, int left, int n) {
    EACH(n);
    int t = i;
    const int channel = t % channels; t /= channels;
    const int px = t % width; t /= width;
    const int py = t % height;
    const int image = t / height;
    float sum = 0.0f;
    for (int ky = 0; ky < kernel; ++ky) {
        const int down = py + top - ky, row = down / stride;
        if (down < 0 || down % stride || row >= rows) continue;
        for (int kx = 0; kx < kernel; ++kx) {
            const int along = px + left - kx, column = along / stride;
            if (along < 0 || along % stride || column >= columns) continue;
            const int patch = (image * rows + row) * columns + column;
            sum += patches[((patch * kernel + ky) * kernel + kx) * channels + channel];
        }
    }
    x[i] = sum;
}

// ---- sums over rows, column by column

// Blocks are `blockDim.x` columns wide and `blockDim.y` rows high, 256 threads in all. The second sum is of squares
// (kind 1), of `a (b - mean) inverse` (kind 2), of `a b` (kind 3), or nothing (kind 0).
__global__ void column_sums(const float* a, const float* b, const float* mean, const float* inverse, int kind,
                            double2* out, int rows, int columns) {
    __shared__ double2 part[256];
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    double first = 0.0, second = 0.0;
    if (column < columns) {
        for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += blockDim.y * gridDim.y) {
            const size_t at = (size_t)row * columns + column;
            const double value = a[at];
            first += value;
            if (kind == 1) second += value * value;
            if (kind == 2) second += value * ((b[at] - mean[column]) * inverse[column]);
            if (kind == 3) second += value * b[at];
        }
    }
    const int place = threadIdx.y * blockDim.x + threadIdx.x;
    part[place] = make_double2(first, second);
    __syncthreads();
    if (threadIdx.y > 0 || column >= columns) return;
    for (int y = 1; y < blockDim.y; ++y) {
        first += part[y * blockDim.x + threadIdx.x].x;
        second += part[y * blockDim.x + threadIdx.x].y;
    }
    out[blockIdx.y * columns + column] = make_double2(first, second);
}

__device__ double2 column_total(const double2* sums, int parts, int columns, int column) {
    double2 total = make_double2(0.0, 0.0);
    for (int part = 0; part < parts; ++part) {
        const double2 here = sums[part * columns + column];
        total.x += here.x;
        total.y += here.y;
    }
    return total;
}

__global__ void add_column_sums(const double2* sums, int parts, float* out, int columns) {
    EACH(columns);
    out[i] += (float)column_total(sums, parts, columns, i).x;
}

// ---- batch normalisation

#define EPSILON 1e-5

__global__ void batch_moments(const double2* sums, int parts, int rows, float momentum, const float* scale,
                              const float* shift, float* running_mean, float* running_variance, float* mean_out,
                              float* inverse_out, float* a, float* b, int columns) {
    EACH(columns);
    const double2 total = column_total(sums, parts, columns, i);
    const double mean = total.x / rows;
    const double variance = fmax(total.y / rows - mean * mean, 0.0);
    const double inverse = 1.0 / sqrt(variance + EPSILON);
    a[i] = (float)(scale[i] * inverse);
    b[i] = (float)(shift[i] - mean * a[i]);
    mean_out[i] = (float)mean;
    inverse_out[i] = (float)inverse;
    running_mean[i] = momentum * running_mean[i] + (1.0f - momentum) * (float)mean;
    running_variance[i] = momentum * running_variance[i] + (1.0f - momentum) * (float)variance;
}

__global__ void batch_frozen(const float* scale, const float* shift, const float* mean, const float* variance, float* a,
                             float* b, int columns) {
    EACH(columns);
    const double inverse = 1.0 / sqrt((double)variance[i] + EPSILON);
    a[i] = (float)(scale[i] * inverse);
    b[i] = (float)(shift[i] - (double)mean[i] * a[i]);
}

// From the sums of dy, and of dy times the normalised x: dx = a dy + b x + rest.
__global__ void batch_pull(const double2* sums, int parts, int rows, const float* scale, const float* mean,
                           const float* inverse, float* dscale, float* dshift, float* a, float* b, float* rest,
                           int columns) {
    EACH(columns);
    const double2 total = column_total(sums, parts, columns, i);
    dscale[i] += (float)total.y;
    dshift[i] += (float)total.x;
    a[i] = scale[i] * inverse[i];
    b[i] = -a[i] * inverse[i] * (float)(total.y / rows);
    rest[i] = -a[i] * (float)(total.x / rows) - b[i] * mean[i];
}

__global__ void affine(const float* x, float* y, const float* a, const float* b, int columns, int n) {
    EACH(n);
    const int c = i % columns;
    y[i] = a[c] * x[i] + b[c];
}

__global__ void affine_pull(float* dy, const float* x, const float* a, const float* b, const float* rest, int columns,
                            int n) {
    EACH(n);
    const int c = i % columns;
    dy[i] = a[c] * dy[i] + rest[c] + b[c] * x[i];
}

// ---- sums of everything

// Partial sums of a b, one a block.
__global__ void dot(const float* a, const float* b, double* sums, int n) {
    double sum = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += blockDim.x * gridDim.x) sum += (double)a[k] * b[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One block: total += factor * sum.
__global__ void add_sum(const double* sums, int count, double factor, double* total) {
    const double sum = sum_of(sums, count);
    if (threadIdx.x == 0) total[0] += factor * sum;
}

// ---- spectral normalisation

// One block: v / |v|.
__global__ void unit(float* v, int n) {
    __shared__ float inverse;
    double sum = 0.0;
    for (int k = threadIdx.x; k < n; k += blockDim.x) sum += (double)v[k] * v[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) inverse = (float)(1.0 / fmax(sqrt(sum), 1e-30));
    __syncthreads();
    for (int k = threadIdx.x; k < n; k += blockDim.x) v[k] *= inverse;
}

// One block: 1 / <a, b>.
__global__ void inverse_dot(const float* a, const float* b, float* out, int n) {
    double sum = 0.0;
    for (int k = threadIdx.x; k < n; k += blockDim.x) sum += (double)a[k] * b[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[0] = (float)(1.0 / fmax(sum, 1e-30));
}

// gradient += (plain - <plain, W> left right^T / s) / s, with the gain 1 / s.
__global__ void spectral_gradient(float* gradient, const float* plain, const double* along, const float* gain,
                                  const float* left, const float* right, int columns, int n) {
    EACH(n);
    const float share = (float)along[0] * gain[0];
    gradient[i] += gain[0] * (plain[i] - share * left[i / columns] * right[i % columns]);
}

// ---- losses of an autoencoder

// decoded becomes (decoded - x) precision scale; partial sums of (decoded - x)^2 precision.
__global__ void misfit(float* decoded, const float* x, const float* precision, float scale, double* sums, int n) {
    double sum = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += blockDim.x * gridDim.x) {
        const float residual = decoded[k] - x[k];
        const float weighted = precision ? residual * precision[k] : residual;
        sum += (double)residual * weighted;
        decoded[k] = weighted * scale;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Latents from means and log variances, which lie one after the other in a row.
__global__ void draw_latents(const float* encoded, const float* noise, float* z, int latents, int n) {
    EACH(n);
    const float* row = encoded + (size_t)(i / latents) * 2 * latents;
    const int k = i % latents;
    z[i] = row[k] + noise[i] * expf(0.5f * row[latents + k]);
}

// Partial sums of the divergence from N(0, 1).
__global__ void divergence(const float* encoded, double* sums, int latents, int n) {
    double sum = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += blockDim.x * gridDim.x) {
        const float* row = encoded + (size_t)(k / latents) * 2 * latents + k % latents;
        const double mean = row[0], log_variance = row[latents];
        sum += 0.5 * (mean * mean + exp(log_variance) - 1.0 - log_variance);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// `total` is the divergence of all rows.
__global__ void draw_latents_pull(const float* encoded, const float* noise, const float* dz, float* dencoded,
                                  const double* total, double capacity, double price, int rows, int latents, int n) {
    EACH(n);
    const size_t row = (size_t)(i / latents) * 2 * latents;
    const int k = i % latents;
    const float mean = encoded[row + k], log_variance = encoded[row + latents + k];
    const double side = total[0] / rows >= capacity ? 1.0 : -1.0;
    const float each = (float)(side * price / rows);
    dencoded[row + k] = dz[i] + each * mean;
    dencoded[row + latents + k] =
        dz[i] * noise[i] * 0.5f * expf(0.5f * log_variance) + each * 0.5f * (expf(log_variance) - 1.0f);
}

__global__ void add_divergence(double* loss, const double* total, double capacity, double price, int rows) {
    if (threadIdx.x == 0) loss[0] += price * fabs(total[0] / rows - capacity);
}

// ---- flows: rows hold the dimensions and, after them, what these depend on

// total += factor * sum of x, by one block.
__global__ void add_float_sum(const float* x, int count, double factor, double* total) {
    double sum = 0.0;
    for (int k = threadIdx.x; k < count; k += blockDim.x) sum += x[k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) total[0] += factor * sum;
}

__global__ void add_number(double* total, double x) {
    if (threadIdx.x == 0) total[0] += x;
}

// Columns from `begin` on, the other way round if `reversed`.
__global__ void take_columns(const float* rows, float* out, int begin, int count, int width, int reversed, int n) {
    EACH(n);
    const int k = i % count;
    out[i] = rows[(size_t)(i / count) * width + begin + (reversed ? count - 1 - k : k)];
}

__global__ void put_columns(float* rows, const float* in, int begin, int count, int width, int reversed, int n) {
    EACH(n);
    const int k = i % count;
    rows[(size_t)(i / count) * width + begin + (reversed ? count - 1 - k : k)] = in[i];
}

// Columns before `begin` and from `end` on.
__global__ void take_passive(const float* rows, float* out, int begin, int end, int width, int n) {
    EACH(n);
    const int count = width - (end - begin), k = i % count;
    out[i] = rows[(size_t)(i / count) * width + (k < begin ? k : k + end - begin)];
}

__global__ void add_passive(float* rows, const float* in, int begin, int end, int width, int n) {
    EACH(n);
    const int count = width - (end - begin), k = i % count;
    rows[(size_t)(i / count) * width + (k < begin ? k : k + end - begin)] += in[i];
}

__global__ void actnorm(const float* x, float* y, const float* log_scale, const float* shift, int dimensions, int width,
                        int n) {
    EACH(n);
    const int c = i % width;
    y[i] = c < dimensions ? expf(log_scale[c]) * (x[i] + shift[c]) : x[i];
}

__global__ void actnorm_pull(float* dy, const float* log_scale, int dimensions, int width, int n) {
    EACH(n);
    const int c = i % width;
    if (c < dimensions) dy[i] *= expf(log_scale[c]);
}

// Sums of dy and of dy y; `dlog_det` is its cotangent, summed over the rows.
__global__ void actnorm_gradient(const double2* sums, int parts, int width, double dlog_det, const float* log_scale,
                                 float* dlog_scale, float* dshift, int dimensions) {
    EACH(dimensions);
    const double2 total = column_total(sums, parts, width, i);
    dlog_scale[i] += (float)(total.y + dlog_det);
    dshift[i] += (float)total.x * expf(log_scale[i]);
}

// Weights of `LowerUpper` to both triangles, the diagonals within.
__global__ void triangles(const float* weights, float* lower, float* upper, int dimensions, int n) {
    EACH(n);
    const int row = i / dimensions, column = i % dimensions;
    lower[i] = row > column ? weights[i] : row == column ? 1.0f : 0.0f;
    upper[i] = row < column ? weights[n + i] : row == column ? expf(weights[2 * n + row]) : 0.0f;
}

__global__ void triangles_gradient(const float* dlower, const float* dupper, const float* upper, double dlog_det,
                                   float* gradient, int dimensions, int n) {
    EACH(n);
    const int row = i / dimensions, column = i % dimensions;
    if (row > column) gradient[i] += dlower[i];
    if (row < column) gradient[n + i] += dupper[i];
    if (row == column) gradient[2 * n + row] += dupper[i] * upper[i] + (float)dlog_det;
}

// dy becomes its own cotangent under -ln N(y; 0, 1) / rows; partial sums of y^2.
__global__ void normal_misfit(float* y, int dimensions, int width, float scale, double* sums, int n) {
    double sum = 0.0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < n; k += blockDim.x * gridDim.x) {
        const bool mapped = k % width < dimensions;
        if (mapped) sum += (double)y[k] * y[k];
        y[k] = mapped ? y[k] * scale : 0.0f;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

#define MOST_BINS 64
#define LEAST 1e-3f
#define STEEPEST 3.0f

__device__ float slope_of_one() { return (float)log(expm1(1.0 - 1e-3)); }

// Sizes of bins as shares of the whole.
__device__ void spline_shares(const float* raw, float* soft, int bins) {
    float largest = raw[0], sum = 0.0f;
    for (int k = 1; k < bins; ++k) largest = fmaxf(largest, raw[k]);
    for (int k = 0; k < bins; ++k) sum += soft[k] = expf(raw[k] - largest);
    for (int k = 0; k < bins; ++k) soft[k] *= 1.0f / sum;
}

__device__ float spline_size(float share, int bins, float bound) {
    return 2.0f * bound * (LEAST + (1.0f - LEAST * bins) * share);
}

__device__ float spline_slope(const float* raw, int k, int bins) {
    return k == 0 || k == bins ? 1.0f : LEAST + soft_plus(raw[2 * bins + k - 1] + slope_of_one());
}

struct Bin {
    int k;
    float x0, y0, width, height, slope0, slope1;
};

__device__ Bin spline_bin(const float* raw, const float* widths, const float* heights, float x, int bins, float bound) {
    Bin bin;
    bin.k = 0;
    bin.x0 = bin.y0 = -bound;
    for (; bin.k < bins - 1; ++bin.k) {
        const float next = bin.x0 + spline_size(widths[bin.k], bins, bound);
        if (x < next) break;
        bin.x0 = next;
        bin.y0 += spline_size(heights[bin.k], bins, bound);
    }
    bin.width = spline_size(widths[bin.k], bins, bound);
    bin.height = spline_size(heights[bin.k], bins, bound);
    bin.slope0 = spline_slope(raw, bin.k, bins);
    bin.slope1 = spline_slope(raw, bin.k + 1, bins);
    return bin;
}

// From the cotangents of a bin's begin and size to those of the raw numbers.
__device__ void pull_shares(const float* soft, int k, float dbegin, float dsize, float* draw, int bins, float bound) {
    const float scale = 2.0f * bound * (1.0f - LEAST * bins);
    float before = 0.0f;
    for (int j = 0; j < k; ++j) before += soft[j];
    const float mean = dbegin * before + dsize * soft[k];
    for (int j = 0; j < bins; ++j) draw[j] = scale * soft[j] * ((j < k ? dbegin : j == k ? dsize : 0.0f) - mean);
}

// Warps numbers; partial sums of the logarithms of the slopes. Kinds: 0 shift, 1 affine, 2 spline.
__global__ void warp(const float* raw, float* x, double* sums, int kind, int bins, float bound, int each, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    float log_slope = 0.0f;
    if (i < n) {
        const float* theta = raw + (size_t)i * each;
        if (kind == 0) x[i] += theta[0];
        if (kind == 1) {
            log_slope = STEEPEST * tanhf(theta[0] / STEEPEST);
            x[i] = x[i] * expf(log_slope) + theta[1];
        }
        if (kind == 2 && x[i] > -bound && x[i] < bound) {
            float widths[MOST_BINS], heights[MOST_BINS];
            spline_shares(theta, widths, bins);
            spline_shares(theta + bins, heights, bins);
            const Bin bin = spline_bin(theta, widths, heights, x[i], bins, bound);
            const float t = fminf(fmaxf((x[i] - bin.x0) / bin.width, 0.0f), 1.0f);
            const float s = bin.height / bin.width, q = t * (1.0f - t);
            const float d = s + (bin.slope1 + bin.slope0 - 2.0f * s) * q;
            const float rest = 1.0f - t;
            const float top = bin.slope1 * t * t + 2.0f * s * q + bin.slope0 * rest * rest;
            x[i] = bin.y0 + bin.height * (s * t * t + bin.slope0 * q) / d;
            log_slope = logf(s * s * top / (d * d));
        }
    }
    const double sum = block_sum(log_slope);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// `x` are the numbers before they were warped; dx takes the place of dy, and `draw` is written.
__global__ void warp_pull(const float* raw, const float* x, float* dy, float* draw, float dlog_slope, int kind, int bins,
                          float bound, int each, int n) {
    EACH(n);
    const float* theta = raw + (size_t)i * each;
    float* out = draw + (size_t)i * each;
    for (int k = 0; k < each; ++k) out[k] = 0.0f;
    if (kind == 0) out[0] = dy[i];
    if (kind == 1) {
        const float s = STEEPEST * tanhf(theta[0] / STEEPEST), slope = expf(s), inside = s / STEEPEST;
        out[0] = (dy[i] * x[i] * slope + dlog_slope) * (1.0f - inside * inside);
        out[1] = dy[i];
        dy[i] *= slope;
    }
    if (kind != 2 || !(x[i] > -bound && x[i] < bound)) return;
    float widths[MOST_BINS], heights[MOST_BINS];
    spline_shares(theta, widths, bins);
    spline_shares(theta + bins, heights, bins);
    const Bin bin = spline_bin(theta, widths, heights, x[i], bins, bound);
    const float w = bin.width, h = bin.height, d0 = bin.slope0, d1 = bin.slope1;
    const float t = fminf(fmaxf((x[i] - bin.x0) / w, 0.0f), 1.0f), rest = 1.0f - t;
    const float s = h / w, q = t * rest, q_t = 1.0f - 2.0f * t, bend = d1 + d0 - 2.0f * s;
    const float a = s * t * t + d0 * q, d = s + bend * q;
    const float top = d1 * t * t + 2.0f * s * q + d0 * rest * rest;
    // Derivatives with respect to (t, s, d0, d1) of numerator, denominator and slope.
    const float a_by[4] = {2.0f * s * t + d0 * q_t, t * t, q, 0.0f};
    const float d_by[4] = {bend * q_t, 1.0f - 2.0f * q, q, q};
    const float top_by[4] = {2.0f * (d1 * t + s * q_t - d0 * rest), 2.0f * q, rest * rest, t * t};
    float by[4];
    for (int k = 0; k < 4; ++k) {
        const float l_by = top_by[k] / top - 2.0f * d_by[k] / d + (k == 1 ? 2.0f / s : 0.0f);
        by[k] = dy[i] * h * (a_by[k] * d - a * d_by[k]) / (d * d) + dlog_slope * l_by;
    }
    pull_shares(widths, bin.k, -by[0] / w, -(by[0] * t + by[1] * s) / w, out, bins, bound);
    pull_shares(heights, bin.k, dy[i], dy[i] * a / d + by[1] / w, out + bins, bins, bound);
    for (int k = bin.k; k <= bin.k + 1; ++k) {
        if (k > 0 && k < bins) {
            out[2 * bins + k - 1] = (k == bin.k ? by[2] : by[3]) * logistic(theta[2 * bins + k - 1] + slope_of_one());
        }
    }
    dy[i] = by[0] / w;
}

// ---- steps of a training

// One block: what gradients are multiplied by, from the partial sums of their square. A gradient that is no number makes
// the loss none.
__global__ void shortening(const double* sums, int count, double clip, float* factor, double* loss) {
    const double length = sqrt(sum_of(sums, count));
    if (threadIdx.x > 0) return;
    factor[0] = clip > 0.0 && length > clip ? (float)(clip / length) : 1.0f;
    if (!isfinite(length)) loss[0] = length - length;
}

// A step of Adam. Roles: 0 keeps the weight, 1 lets it decay, 2 does not.
__global__ void adam(float* weights, const float* gradient, float* mean, float* square, const unsigned char* roles,
                     const float* shortened, float b1, float b2, float size, float inverse, float epsilon, float decay,
                     int n) {
    EACH(n);
    const unsigned char role = roles[i];
    if (role == 0) return;
    const float g = gradient[i] * shortened[0];
    const float m = b1 * mean[i] + (1.0f - b1) * g;
    const float v = b2 * square[i] + (1.0f - b2) * g * g;
    mean[i] = m;
    square[i] = v;
    weights[i] = (role == 1 ? decay : 1.0f) * weights[i] - size * m / (sqrtf(v * inverse) + epsilon);
}

__global__ void running_average(float* average, const float* weights, float keep, int n) {
    EACH(n);
    average[i] = keep * average[i] + (1.0f - keep) * weights[i];
}

}  // extern "C"
