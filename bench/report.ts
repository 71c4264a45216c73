export function median(numbers: readonly number[]): number {
  return numbers.toSorted((left, right) => left - right)[Math.floor(numbers.length / 2)] ?? 0;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}
