/* The heatmaps that labels ask for: labels [B,K,3] (x, y in heatmap pixels; 1 visible, 0 not, -1 no label) -> target [B,S,K], a
 * Gaussian of peak 1 at the ball, and mask [B,K]; both 0 where no ball is visible, but for the mask of a label where `negative`.
 * Items (S*K, B). */
#ifndef HEATS
#define HEATS 1 /* K */
#endif
__kernel void heatmap_target(const __global float *labels, __global float *target, __global float *mask, int height, int width,
                             int batch, float sigma, int negative)
{
    const int i = (int)get_global_id(0), b = (int)get_global_id(1), area = height * width * HEATS;
    if (i >= area || b >= batch) return;
    const int pixel = i / HEATS, k = b * HEATS + i % HEATS;
    const float dx = (float)(pixel % width) - labels[3 * k], dy = (float)(pixel / width) - labels[3 * k + 1];
    const bool visible = labels[3 * k + 2] > 0.0f, counts = visible || (negative && labels[3 * k + 2] >= 0.0f);
    target[(size_t)b * area + i] = visible ? exp(-(dx * dx + dy * dy) / (2.0f * sigma * sigma)) : 0.0f;
    if (pixel == 0) mask[k] = counts ? 1.0f : 0.0f;
}
