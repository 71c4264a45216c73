/** Kubernetes' suffixes (apimachinery, pkg/api/resource/suffix.go); `m` is a thousandth. */
const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
};

/** `20Gi`, `20G`, `1e9`, `512` in whole bytes; undefined for what is no quantity above zero. */
export function parseQuantityBytes(quantity: unknown): number | undefined {
  if (typeof quantity !== 'number' && typeof quantity !== 'string') return undefined;
  const match = /^(\d+(?:\.\d*)?|\.\d+)(?:[eE](\d+)|([a-zA-Z]*))$/.exec(String(quantity));
  const factor = match === null ? undefined : FACTORS[match[3] ?? ''];
  if (match === null || factor === undefined) return undefined;
  const bytes = Math.floor(Number(match[1]) * 10 ** Number(match[2] ?? 0) * factor);
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined;
}
