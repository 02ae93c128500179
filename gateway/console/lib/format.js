// Numbers as text. What changes while one looks has a fixed number of decimals, so that it does
// not jump. What is not known is a dash.

const UNKNOWN = "–";

// 1234567 as "1,234,567".
export function number(value, decimals = 0) {
  if (!isKnown(value)) return UNKNOWN;
  return value.toLocaleString("en", {
    minimumFractionDigits: decimals,
    maximumFractionDigits: decimals,
  });
}

// A number for an axis, short: "0.5", "25", "1.5K".
export function compact(value) {
  return value.toLocaleString("en", { notation: "compact", maximumFractionDigits: 1 });
}

// Events in a second: "12.3/s".
export function rate(value) {
  return isKnown(value) ? `${number(value, 1)}/s` : UNKNOWN;
}

// A share from 0 to 1: "3.1 %".
export function percent(share) {
  return isKnown(share) ? `${number(share * 100, 1)} %` : UNKNOWN;
}

// The part that `some` is of `all`, from 0 to 1; null if there is nothing or one is not known.
export function share(some, all) {
  return isKnown(some) && isKnown(all) && all > 0 ? Math.min(1, some / all) : null;
}

// A time in milliseconds: "3.2 ms", "1,240 ms", "12.0 s".
export function ms(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value >= 10_000) return `${number(value / 1000, 1)} s`;
  return `${number(value, value < 100 ? 1 : 0)} ms`;
}

// A long time in seconds: "42 s", "5 min 7 s", "3 h 2 min", "4 d 1 h".
export function duration(seconds) {
  if (!isKnown(seconds)) return UNKNOWN;
  const whole = Math.floor(seconds);
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, length]) => whole >= length);
  if (first === -1) return "0 s";
  const parts = units.slice(first, first + 2).map(([unit, length], place) => {
    const count = Math.floor(place === 0 ? whole / length : (whole % units[first][1]) / length);
    return count > 0 ? `${count} ${unit}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

// Memory: "13.4 MB".
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (value >= 1000 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${number(value, place === 0 ? 0 : 1)} ${units[place]}`;
}

// An amount of money, which has no currency here: "1,234.50".
export function money(value) {
  return number(value, 2);
}

// The time of day of a moment, here and now: "14:03:59".
export function time(moment) {
  const date = new Date(moment);
  return Number.isNaN(date.getTime()) ? UNKNOWN : date.toTimeString().slice(0, 8);
}

// A moment with its day: "2026-11-30 14:03:59".
export function dateTime(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return UNKNOWN;
  const two = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time(date)}`;
}

function isKnown(value) {
  return typeof value === "number" && Number.isFinite(value);
}
