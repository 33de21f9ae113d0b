/** The `format` of everything that this version writes. By itself, so that `vault version` loads no more. */
export const FORMAT = 'vault/2';
