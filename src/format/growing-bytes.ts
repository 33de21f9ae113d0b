/** Memory that a value's bytes are written to, one field after another, and the next value's again. */
export class GrowingBytes {
  #bytes = Buffer.alloc(1024);
  #at = 0;

  /** Leaves room for the length. */
  start(): void {
    this.#at = 4;
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#bytes.writeUInt8(value, at);
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#bytes.writeUInt16BE(value, at);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#bytes.writeUInt32BE(value, at);
  }

  i64(value: number): void {
    const at = this.#grow(8);
    const high = Math.floor(value / 2 ** 32);
    this.#bytes.writeInt32BE(high, at);
    this.#bytes.writeUInt32BE(value - high * 2 ** 32, at + 4);
  }

  bytes(value: Uint8Array): void {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
  }

  shortText(text: string): void {
    const size = Buffer.byteLength(text);
    this.u8(size);
    const at = this.#grow(size);
    this.#bytes.write(text, at);
  }

  finish(): Buffer {
    this.#bytes.writeUInt32BE(this.#at, 0);
    return this.#bytes.subarray(0, this.#at);
  }

  #grow(size: number): number {
    const at = this.#at;
    this.#at += size;
    if (this.#at > this.#bytes.length) {
      const larger = Buffer.alloc(2 * this.#at);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    return at;
  }
}
