#!/bin/bash
# The rows for Intel's and AMD's matrix units, and some of NVIDIA's, without such a GPU (test_emulated.c): all of them; then with a
# fault planted in the kernels' text, each of which has to be found. emulate.sh SOURCE_DIR TEST_EMULATED; prints "N passed, N failed".
export TRACKNET_CACHE=off TEST=$(realpath "$2") W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
[ -n "$OCL_ICD_VENDORS" ] || [ ! -f /etc/OpenCL/vendors/pocl.icd ] || export OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd # others take long to load
cd "$1" || exit 2
export PRELUDE=$PWD/tests/portability/emulate/kernels.h
skip() {
  echo "skipped: $1"
  echo "0 passed, 0 failed"
  exit 0
}
[ "$(uname -m)" = x86_64 ] || skip "kernels are called as x86-64 programs call each other, and this is $(uname -m)"
command -v "${CLANG:-clang-15}" >/dev/null || skip "${CLANG:-clang-15} is not installed"

whole() { # UNIT
  "$TEST" cl "$PRELUDE" "$1" >"$W/$1.log" 2>&1
  echo "$?" >>"$W/$1.log"
}
fault() { # NUMBER UNIT CASE FILE SED
  local copy=$W/fault$1
  mkdir "$copy" && cp -r cl/intel cl/amd cl/nvidia cl/shared cl/portable "$copy"
  sed -i "$5" "$copy/$4"
  if cmp -s "cl/$4" "$copy/$4"; then echo "FAILED: nothing to plant in $4: $5"
  elif "$TEST" "$copy" "$PRELUDE" "$2" "$3" >"$copy/log" 2>&1; then echo "FAILED: $4 with $5 passes '$3' on $2"
  elif grep -q "does not compile\|arguments\|no kernel" "$copy/log"; then echo "FAILED: $4 with $5 does not run" && head -3 "$copy/log"
  else touch "$W/found$1"; fi
  rm -r "$copy"
}
export -f whole fault
faults=(
  # products on dpas: packing, edges, places, ends
  "dpas8|bare|intel/gemm_dpas.cl|s/deep \* SG + l, k =/deep * SG + SG - 1 - l, k =/"
  "dpas16|bare|intel/gemm_dpas.cl|s/in = n < N && k < K/in = k < K/"
  "dpas8|scaled|intel/gemm_dpas.cl|s/return k + 2 \* lane < K ?/return true ?/"
  "dpas16|scaled|intel/gemm_dpas.cl|s/return k + lane < K ?/return true ?/"
  "dpas8|scaled|intel/gemm_dpas.cl|s/A + (size_t)min(m0 + 8 \* i + r, M - 1)/A + (size_t)(m0 + 8 * i + r)/"
  "dpas8|bare|intel/gemm_dpas.cl|s/if (row >= M) continue;//"
  "dpas16|gelu|intel/gemm_dpas.cl|s/if (c + j \* SG + lane >= N) continue;//"
  "dpas8|bare|intel/gemm_dpas.cl|s/a\[1\]\[i\]\[r\] = p.y/a[1][i][r] = p.x/"
  "dpas8|scaled|intel/gemm_dpas.cl|s/e = LOAD_WORDS(x)/e = LOAD_WORDS(to)/"
  "dpas8|scaled|intel/gemm_dpas.cl|s/n0 \/ part \* depth : 0/0 : 0/"
  "dpas16|more tiles than one|intel/gemm_dpas.cl|s/m0 \* WGM + sg \/ WGN/m0 * WGM + sg % WGM/"
  "dpas16-2d|gelu|intel/gemm_dpas.cl|s/(VIEW_OF_A, (int2)(k, m0)/(VIEW_OF_A, (int2)(m0, k)/"
  "dpas16|rotary|intel/gemm_dpas.cl|s/row, n0, j \* SG + lane A_TURN/row, n0, j * SG A_TURN/"
  # on any unit
  "dpas8|more tiles than one|shared/words.h|s/get_global_offset(d) \/ (items) + get_group_id(d)/get_group_id(d)/"
  "wmma12|attention|shared/words.h|s/get_global_offset(d) \/ (items) + get_group_id(d)/get_group_id(d)/"
  "dpas8|slope|shared/element.h|s/(uint)N + (uint)(n),/(uint)N + (uint)(n) + 1u,/"
  "mfma|rotary|shared/element.h|s/const int at = row % tokens - skip/const int at = row % tokens/"
  "wmma12|gelu|shared/element.h|s/\*e = to_word(v);//"
  "mfma|residual|shared/element.h|s/v += from_word(\*e);//"
  "dpas16|slope|shared/matrix_unit.h|s/exp2_fast(-0.72134752f \* y), below/exp2_fast(-0.72134752f * y), 1.0f - below/"
  # products on MFMA and WMMA: barriers, edges, places
  "mfma|bare|amd/gemm_matrix.cl|0,/ barrier(/s/ barrier([A-Z_]*);//"
  "wmma12|bare|amd/gemm_matrix.cl|/PUT(b_tile/,/barrier/s/ barrier([A-Z_]*);//"
  "wmma12|bare|amd/gemm_matrix.cl|s/r < (valid) \&\& at < K ?/r < (valid) ?/"
  "mfma|scaled|amd/gemm_matrix.cl|s/r < (valid) \&\& at < K ?/at < K ?/"
  "wmma11|bare|amd/gemm_matrix.cl|s/as_uint(half_wave ? low : high)/as_uint(half_wave ? high : low)/"
  "mfma|bare|amd/gemm_matrix.cl|s/UNIT == 9 ? 8 \* (q) + 4 \* half_wave/UNIT == 9 ? 4 * (q) + 8 * half_wave/"
  "wmma11|slope|amd/units.h|s/ROW_OF(e) (2 \* (e) + half_wave)/ROW_OF(e) (8 * half_wave + (e))/"
  "mfma|bare|amd/units.h|s/MFMA((a).hi, (b).hi, /MFMA((a).hi, (b).lo, /"
  "wmma12|gelu|amd/gemm_matrix.cl|s/return k < depth ?/return true ?/"
  "mfma|turned matrix|amd/gemm_matrix.cl|s/(size_t)(k + i) \* ldb/(size_t)(k + i \/ 2) * ldb/"
  "wmma11|gelu|amd/gemm_matrix.cl|s/row >= M || n >= N/row >= M/"
  "wmma12|one row|amd/gemm_matrix.cl|s/row >= M || n >= N/n >= N/"
  # quantised weights, unpacked to either unit's operand: places, edges, parts, scales, codes
  "dpas8|forward, nf4 double|portable/quant_operand.cl|s/x.s0 \| x.s1 << 16/x.s1 \| x.s0 << 16/"
  "dpas8|quantised operands|portable/quant_operand.cl|s/n < N \&\& k < K/k < K/"
  "dpas8|quantised operands|portable/quant_operand.cl|s/n < N \&\& k < K/n < N/"
  "dpas16|back, nf4 double|portable/quant_operand.cl|s/uint4 w = (uint4)(0)/uint4 w = (uint4)(0xffffffffu)/"
  "dpas8|back, nf4 double|portable/quant_operand.cl|s/FOUR(at + (uint)cols) << 16/FOUR(at + 4) << 16/"
  "dpas16|forward, nf4 double|portable/quant_operand.cl|s/id \/ LANES % 2 \* 8/id % 2 * 8/"
  "dpas16|back, nf4 double|portable/quant_operand.cl|s/id \/ (LANES \/ 4) % 8 \* 2/id \/ (LANES \/ 4) % 4 * 2/"
  "dpas16|forward, odd rows, nf4 double|portable/quant_operand.cl|s/b \/ deep \* LANES + id % LANES/b \/ deep * LANES + (id ^ 1) % LANES/"
  "dpas8|forward of three, nf4 double|portable/quant_operand.cl|s/TAKE_PART(row \/ rows)/TAKE_PART(0)/"
  "dpas16|back of three, nf4 double|portable/quant_operand.cl|s/row % rows/row/"
  "dpas8|forward, nf4 double|portable/quant_operand.cl|s/(e) >> SHIFT/(e) >> (SHIFT + 1)/"
  "dpas8|back, odd rows, int8|portable/quant_operand.cl|s/((e) \/ block)/((e) \/ block + 1)/"
  "dpas8|forward, nf4 double|portable/quant_operand.cl|s/h\[0\], h\[1\], h\[2\]/h[1], h[0], h[2]/"
  "dpas16|forward, nf4 double|portable/quant_operand.cl|s/barrier(CLK_LOCAL_MEM_FENCE);//"
  "mfma|back, nf4 double|portable/quant_operand.cl|s/k >= K || n >= cols/n >= cols/"
  "wmma11|back, odd rows, nf4 double|portable/quant_operand.cl|s/k >= K || n >= cols/k >= K/"
  "mfma|back of three, nf4 double|portable/quant_operand.cl|s/TAKE_PART(k \/ rows)/TAKE_PART(k \/ rows * 2)/"
  "wmma12|back, nf4 double|portable/quant_operand.cl|s/(uint4)(p.s1, q.s1/(uint4)(q.s1, p.s1/"
  "mfma|back, nf4 double|portable/quant_operand.cl|s/FOUR(at + 7 \* c)/FOUR(at + 6 * c)/"
  "wmma11|back, nf4 double|portable/quant_operand.cl|s/get_global_id(1) \* 8 + l \/ 8/get_global_id(1) * 8 + l % 8/"
  "dpas8|forward, int4_asym|shared/quant.h|s/(v - zero) \* scale/v * scale/"
  "mfma|back, nf4 double|shared/quant.h|s/return v + offset/return v/"
  # attention: packing, edges, the softmax, barriers
  "dpas8|attention, few|intel/attention.h|s/return row < n ?/return true ?/"
  "dpas8|attention|intel/attention.h|s/SG == 16 ? 1 : 8)/1)/"
  "dpas16|attention, few|intel/attention_dpas.cl|s/b \* SG + lane < n/b * SG + lane < n + 1/"
  "dpas16|attention|intel/attention.h|s/min(row + r, n - 1)/(row + r)/"
  "dpas8|attention, grown|intel/attention_dpas.cl|s/sum\[m\] \*= fix;//"
  "dpas16|attention, grown|intel/attention_dpas.cl|s/> LIMIT)/> 1000.0f)/"
  "dpas16|attention|intel/attention_dpas.cl|s/if (row >= n) continue;//"
  "mfma|attention|amd/attention_matrix.cl|0,/ barrier(/s/ barrier([A-Z_]*);//"
  "wmma11|attention|amd/attention_matrix.cl|/put_turned(v_tile/,/barrier/s/ barrier([A-Z_]*);//"
  "mfma|attention|amd/attention.h|s/((p)\&4) << 1 | ((p)\&8) >> 1/((p)\&12)/"
  "wmma11|attention|amd/attention.h|s/half_wave ? other : mine, half_wave ? mine : other/half_wave ? mine : other, half_wave ? other : mine/"
  "wmma12|attention|amd/attention_matrix.cl|s/k0 + kb + ROW_OF(e) < n ?/true ?/"
  "wmma12|attention, few|amd/attention_matrix.cl|s/1.0f \/ total, row < n,/1.0f \/ total, true,/"
  "mfma|attention, grown|amd/attention_matrix.cl|s/UNROLL for (int i = 0; i < 64 \/ U; i++) acc\[b\]\[i\] \*= fix;//"
  "wmma12|attention|amd/attention_matrix.cl|s/most = fmax(most, as_float(SWAP_HALVES(as_uint(most))));//"
  # attention's backward
  "dpas8|back, few|intel/attention_dpas_back.cl|s/out\[(size_t)bh \* steps \* parts \* WORDS + id\] = which \/ 2/out[(size_t)bh * steps * parts * WORDS + id] = which \/ 3/"
  "dpas16|back, few|intel/attention_dpas_back.cl|s/(ds\[b\] - dot)/(ds[b])/"
  "dpas8|back, few|intel/attention_dpas_back.cl|s/acc, r, scale, lane, row0 + r, 1 A_TURN/acc, r, scale, lane, row0 + r, 0 A_TURN/"
  "dpas16|back, few|intel/attention_dpas_back.cl|s/now + 3 \* next/now + 2 * next/"
  "dpas8|back|intel/attention_dpas_back.cl|s/if (row0 + r >= n) continue;//"
  "dpas16|back|intel/attention_dpas_back.cl|s/if (id >= steps \* parts \* WORDS) return;/if (id >= WORDS) return;/"
  "mfma|back|amd/attention_matrix_back.cl|0,/ barrier(/s/ barrier([A-Z_]*);//"
  "wmma11|back|amd/attention_matrix_back.cl|/numbers\[KT + id\] =/,/barrier/s/ barrier([A-Z_]*);//"
  "wmma12|back, few|amd/attention_matrix_back.cl|s/(ds\[e\] - numbers\[KT + /(ds[e] - numbers[/"
  "mfma|back|amd/attention_matrix_back.cl|s/accumulate(dk, q_turned/accumulate(dk, g_turned/"
  "wmma11|back|amd/attention_matrix_back.cl|s/turned + (i \* U + lane) \* TURNED/turned + (i * U + (lane ^ 1)) * TURNED/"
  "wmma12|back, lengths|amd/attention_matrix_back.cl|s/table + (size_t)(row - skip) \* 64/table + (size_t)row * 64/"
  "mfma|back, few|amd/attention_matrix_back.cl|s/to + 2 \* d, dv, 1.0f, row < n,/to + 2 * d, dv, 1.0f, true,/"
  "wmma12|back, few|amd/attention_matrix_back.cl|s/s + as_float(SWAP_HALVES(as_uint(s)))/s/"
  # layernorm and a thin product, mma.sync: edges, orders of columns, masks, sums, barriers
  "mma80|norm, few|nvidia/layernorm.cl|s/if (m0 + r + i \* 8 >= rows) continue;//"
  "mma80|norm, few|nvidia/layernorm.cl|s/min(m0 + r + i \* 8, rows - 1) \* COLS/(m0 + r + i * 8) * COLS/"
  "mma80|norm, few|nvidia/layernorm.cl|s/j \/ 2 \* 16 + 2 \* r + j % 2/j * 8 + r/"
  "mma80|norm, few|nvidia/layernorm.cl|s/COL - q \* 8 + (k)\*32/COL + (k)*32/"
  "mma80|norm, few|nvidia/layernorm.cl|s/return v + from_lane(v, 2)/return v/"
  "mma80|norm|nvidia/layernorm.cl|s/spread, 2 \* q + 1)/spread, 2 * q)/"
  "mma80|norm|nvidia/layernorm.cl|s/e % 2 ? 0x4342u : 0x4140u/0x4140u/"
  "mma80|norm|nvidia/layernorm.cl|s/A_BITS) + 4 \* r/A_BITS) + 4 * q/"
  "mma80|norm, few|nvidia/layernorm.cl|s/alpha \*= a_keep;//"
  "mma80|norm, few|nvidia/layernorm.cl|s/others = word_from_lane(mine, 2)/others = mine/"
  "mma80|norm, few|nvidia/drop.h|s/2 \* (uint)width, threshold/(uint)width, threshold/"
  "mma80|norm, few|shared/common.h|s/ + four - less/ + four/"
  "mma80|norm back, few|nvidia/layernorm.cl|s/0x7632u/0x5410u/"
  "mma80|norm back, few|nvidia/layernorm.cl|s/from\[2 \* e \* ldb + N - 8 + r\]/from[(2 * e + 1) * ldb + N - 8 + r]/"
  "mma80|norm back, few|nvidia/layernorm.cl|s/stat\[i\].y \* stat\[i\].y \* stat\[i\].y/stat[i].y * stat[i].y/"
  "mma80|norm back, few|nvidia/layernorm.cl|s/if (m0 + m < rows)//"
  "mma80|norm back, few|nvidia/layernorm.cl|s/ - stat\[i\].x \* m2\[i\];/;/"
  "mma80|norm back, few|nvidia/layernorm.cl|s/d\[i\]\[k\]\[e\] = pack16(v.x \* s\[e\].x, v.y \* s\[e\].y);//"
  "mma80|norm back, few|nvidia/layernorm.cl|/inline void finish/,/^}/s/barrier(CLK_LOCAL_MEM_FENCE);//"
  # dt and dB of a gradient: edges, orders of a tile, slices and ranges, scales, barriers
  "wgmma|both, few|nvidia/thin_both.cl|s/if (row < end) {/if (true) {/"
  "wgmma|both, few|nvidia/thin_both.cl|s/if (n < r) ST(/ST(/"
  "wgmma|both, few|nvidia/thin_both.cl|s/mine = id < SUM_COLS \&\& column < width/mine = id < SUM_COLS/"
  "wgmma|both, few|nvidia/thin_both.cl|s/PIECE(m + lane % 8 + lane \/ 16 \* 8, lane \/ 8 % 2,/PIECE(m + lane % 16, lane \/ 16,/"
  "wgmma|both, few|nvidia/thin_both.cl|s/LDMATRIX(\"\", g\[0\]/LDMATRIX(\".trans\", g[0]/"
  "wgmma|both, few|nvidia/thin_both.cl|s/sum \* alpha)/sum)/"
  "wgmma|both, few|nvidia/thin_both.cl|s/dy += dy_off + (uint)(part \* width + x0);/dy += dy_off + (uint)x0;/"
  "wgmma|both|nvidia/thin_both.cl|s/(size_t)(part \* of_part + z) \* K/(size_t)(part * of_part) * K/"
  "wgmma|both|nvidia/thin_both.cl|s/begin = z \* range, end = min(K, begin + range)/begin = z * range, end = K/"
  "wgmma|both|nvidia/thin_both.cl|s/slice % of_part \* COLS, mine/0, mine/"
  "wgmma|both, few|nvidia/thin_both.cl|s/(c) ^ TURN(r, pieces)/(c)/;s/if (s == steps) break;/if (s + 1 >= steps) break;/"
  "wgmma|both|nvidia/pieces.h|s/y + r < y_end ?/true ?/"
)
{
  for unit in dpas8 dpas16 dpas16-2d mfma wmma11 wmma12 mma80 wgmma; do printf 'whole %q\n' $unit; done
  for i in "${!faults[@]}"; do
    IFS='|' read -r unit name file change < <(printf '%s\n' "${faults[$i]}" | sed 's/||/\x01/g')
    printf 'fault %q %q %q %q %q\n' "$i" "$unit" "$name" "$file" "${change//$'\x01'/||}"
  done
} | xargs -P 2 -d '\n' -I{} bash -c '{}'
pass=0 fail=0
for log in "$W"/*.log; do
  grep FAILED "$log"
  counts=$(grep ' passed, ' "$log" | tail -1)
  p=${counts%% passed*} f=${counts#*, } f=${f%% failed}
  [ -n "$counts" ] && [ "$(tail -1 "$log")" = "$f" ] || [ "${f:-0}" -gt 0 ] || { echo "FAILED: $(basename "$log" .log) ended early" && f=1; }
  pass=$((pass + ${p:-0})) fail=$((fail + ${f:-1}))
done
found=$(find "$W" -name 'found*' | wc -l)
echo "$found of ${#faults[@]} planted faults were found"
pass=$((pass + found)) fail=$((fail + ${#faults[@]} - found))
echo "$pass passed, $fail failed"
[ $fail -eq 0 ] && [ $pass -gt 0 ]
