// Amounts as people read them, and back. Whole numbers of any size stay exact: a division would lose digits.

export const exponents = new Map(); // decimal places by currency, as GET /currencies tells them

export function knowCurrencies(listed) {
  for (const { code, exponent } of listed) exponents.set(code, exponent);
}

export function spelled(minorUnits, code) {
  const amount = BigInt(minorUnits);
  const exponent = exponents.get(code) ?? 0;
  const digits = String(amount < 0n ? -amount : amount).padStart(exponent + 1, "0");
  const whole = digits.slice(0, digits.length - exponent).replace(/\B(?=(\d{3})+$)/g, ",");
  const part = exponent ? `.${digits.slice(-exponent)}` : "";
  return `${amount < 0n ? "-" : ""}${whole}${part} ${exponents.has(code) ? code : `minor units of ${code}`}`;
}

export function minorUnits(text, code) {
  const exponent = exponents.get(code) ?? 0;
  const match = /^(\d{1,3}(?:,\d{3})+|\d+)(?:\.(\d+))?$/.exec(text.trim());
  const part = match?.[2] ?? "";
  if (!match || part.length > exponent) throw new Error(`“${text}” is not an amount: ${code} has ${exponent} decimal places`);
  const amount = BigInt(match[1].replaceAll(",", "") + part.padEnd(exponent, "0"));
  if (amount > BigInt(Number.MAX_SAFE_INTEGER)) throw new Error(`${text} ${code} is more than any wallet holds`);
  return Number(amount);
}
