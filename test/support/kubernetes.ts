/** Kinds of Google's own, which Kubernetes has no schema of. */
const GOOGLES = /^(networking\.gke\.io|cloud\.google\.com)\//;

/** What is wrong with a manifest by the schema of its kind; null for nothing. */
export async function problemOf(manifest: Readonly<Record<string, unknown>>): Promise<string | null> {
  const [apiVersion, kind] = [String(manifest['apiVersion']), String(manifest['kind'])];
  if (GOOGLES.test(apiVersion)) return null;
  const place = `kubernetes-models/${apiVersion}/${kind}`;
  const models: Record<string, new (data: unknown) => { validate(): void }> = await import(
    /* @vite-ignore */ place
  );
  const Model = models[kind];
  try {
    if (Model === undefined) return `${kind} is unknown`;
    new Model(manifest).validate();
    return null;
  } catch (error) {
    return `${kind}: ${String(error)}`;
  }
}
