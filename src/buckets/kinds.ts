// The kinds of bucket: a new one is a folder with its URL, its options, its errors and its `kind.ts`, and a line here.
export { folder } from './folder/kind.ts';
export { gcs } from './gcs/kind.ts';
export { s3 } from './s3/kind.ts';
