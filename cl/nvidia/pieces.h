/* 16-byte pieces of rows in local memory, copied beside the arithmetic. After ptx.h and common.h; ITEMS: of the group. */
#ifndef TN_PIECES_H
#define TN_PIECES_H

/* Where 16-byte piece c of row r lies, a row of `pieces`: 8 rows of a column of pieces fall on different banks. */
#define TURN(r, pieces)     ((pieces) % 8 == 0 ? (r)&7 : (pieces) % 4 == 0 ? (r) >> 1 & 3 : (r) >> 2 & 1)
#define PIECE(r, c, pieces) ((uint)((r) * (pieces) + ((c) ^ TURN(r, pieces))) * 16)

/* An item's piece of each of some steps of rows that follow each other. */
typedef struct {
    const __global ushort *at; /* of the next step */
    uint to;                   /* in a step's memory */
    int left;                  /* rows to read, from this one on */
    int bytes;
} piece_stream;

/* The e-th piece of rows of `pieces`, from row y and column x on. */
inline piece_stream stream_pieces(const __global ushort *from, int ld, const int pieces, int y, int y_end, int x, int x_end, int e)
{
    const int r = e / pieces, c = e % pieces;
    piece_stream s;
    s.left = y_end - y - r, s.bytes = clamp(x_end - x - c * 8, 0, 8) * 2, s.to = PIECE(r, c, pieces);
    s.at = from + (s.bytes ? (size_t)(y + r) * ld + x + c * 8 : 0);
    return s;
}

/* Of the next `rows` rows, at `to`, the piece and those `every` rows on; zeros, of addresses that are not read, beyond the last
 * one. */
inline void fetch_next(piece_stream *s, uint to, int ld, const int rows, const int every, const int pieces)
{
    UNROLL for (int i = 0; i < rows; i += every)
        copy16(to + s->to + i * pieces * 16, s->at + (size_t)i * ld, s->left > i ? s->bytes : 0);
    s->left -= rows;
    s->at += (size_t)rows * ld;
}

/* `rows` rows of `pieces` from row y and column x on; zeros from y_end and x_end on. */
inline void fetch(uint to, const __global ushort *from, int ld, const int rows, const int pieces, int y, int y_end, int x,
                  int x_end, int id)
{
    UNROLL for (int i = 0; i < (rows * pieces + ITEMS - 1) / ITEMS; i++)
    {
        const int e = id + i * ITEMS, r = e / pieces, c = e % pieces, at = x + c * 8;
        if (r >= rows) continue;
        const int bytes = y + r < y_end ? clamp(x_end - at, 0, 8) * 2 : 0;
        copy16(to + PIECE(r, c, pieces), from + (bytes ? (size_t)(y + r) * ld + at : 0), bytes);
    }
}
#endif
