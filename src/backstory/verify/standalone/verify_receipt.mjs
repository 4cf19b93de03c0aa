/* Checks receipts of Backstory without Backstory, in plain JavaScript: this one file, in a browser or in Node.

     node verify_receipt.mjs FILE --vkey KEY [--vkey KEY …] [--witness KEY … [--quorum K]] [--json]
     import { checkFile } from "./verify_receipt.mjs"

   It needs nothing but WebCrypto (SHA-256 and Ed25519) and sends nothing anywhere. The rules are those of docs/format.md
   section 14, in that order; verify_receipt.py beside it is the same check in Python, and says what the options mean.

   Exit code 0: verified. 20: does not verify. 21: cannot be checked, which says nothing about it. 2: asked wrongly.
   What it shows: the holder of the log's key committed to this record, and it is unchanged. Not that its values were true. */

const PROOF_MAGIC = "c2sp.org/tlog-proof@v1\n";
const MANY_MAGIC = '{"backstory":"receipts",';
const MANY_BYTES_MAX = 256 * 2 ** 20;
const MANY_RECEIPTS_MAX = 65_536;
const EXTRA_MAX = 16 * 2 ** 20;
const NOTE_MAX = 1_000_000;

/** Something does not verify, or is malformed. */
export class Failed extends Error {}

/** This program cannot tell: the file is no receipt, or is newer than this program. */
export class CannotCheck extends Error {}

/** A key or an option is malformed. */
export class AskedWrongly extends Error {}

// --- The checks, in the order of docs/format.md section 14 -------------------------------------------------------------

/**
 * Check a file of either kind.
 *
 * @param {Uint8Array} data The file's bytes.
 * @param {{vkeys: string[], witnesses?: string[], quorum?: number}} asked The log's public keys, got from somewhere else
 *     than the file; those of witnesses, and how many of them must have cosigned (all, if it is not said).
 * @returns {Promise<object[]>} The facts, one object a record. Numbers too large for JavaScript are BigInt.
 */
export async function checkFile(data, { vkeys, witnesses = [], quorum = witnesses.length }) {
  const [logKeys, witnessKeys] = [await readKeys(vkeys, 1), await readKeys(witnesses, 4)];
  if (!logKeys.length) throw new AskedWrongly("expected a public key of the log");
  const isTwice = new Set(witnessKeys.map(({ bytes }) => toHex(bytes))).size !== witnessKeys.length;
  if (isTwice) throw new AskedWrongly("a witness is there twice");
  const isQuorum = Number.isInteger(quorum) && quorum <= witnessKeys.length && quorum >= Math.min(witnessKeys.length, 1);
  if (!isQuorum) throw new AskedWrongly("quorum: expected 1 to the number of witnesses");
  const keys = { logKeys, witnessKeys, quorum };
  const begins = (magic) => data.length >= magic.length && [...magic].every((c, i) => data[i] === c.charCodeAt(0));
  if (begins(PROOF_MAGIC)) return [await checkOne(data, keys)];
  if (begins(MANY_MAGIC)) return checkMany(data, keys);
  throw new CannotCheck("this is no receipt: its beginning is not that of one");
}

/** A `.tlog-proof`: magic, `extra`, index, hashes; an empty line; the signed checkpoint. */
async function checkOne(data, keys) {
  const end = data.findIndex((byte, i) => byte === 10 && data[i + 1] === 10);
  need(end >= 0 && data.subarray(0, end).every((byte) => byte < 128), "expected ASCII lines, an empty line and a checkpoint");
  const lines = decodeUtf8(data.subarray(0, end)).split("\n").slice(1);
  need(lines[0]?.startsWith("extra "), "expected a line with what is proven");
  const extra = fromBase64(lines.shift().slice("extra ".length));
  need(extra.length <= EXTRA_MAX, "what is proven is too large");
  need(lines[0]?.startsWith("index "), "expected a line with the index");
  const index = logNumber(lines.shift().slice("index ".length));
  need(lines.length <= 63, "too many hashes");
  const proof = lines.map((line) => fromBase64(line, 32));
  const log = await checkNote(data.subarray(end + 2), keys); // 1
  const receipt = fromJson(extra);
  checkVersion(receipt, "receipt");
  needMembers({ ...receipt, erased: 0 }, "context entry erased index openings path row schema v");
  const [entry, schema] = [receipt.entry, receipt.schema].map((text) => fromBase64(text));
  const context = receipt.context === null ? null : fromBase64(receipt.context);
  need(Array.isArray(receipt.path), "expected a list of hashes");
  const record = readRecord(receipt, schema, context, receipt.path.map((text) => fromHex(text)));
  await checkInclusion(entry, index, log.size, proof, log.root); // 2
  return checkRecord(log, index, readManifest(entry), record);
}

/** A `.receipts`: canonical JSON in which everything that records share stands once. */
async function checkMany(data, keys) {
  need(data.length <= MANY_BYTES_MAX, "the file is too large");
  const file = fromJson(data);
  checkVersion(file, "file");
  needMembers(file, "backstory contexts entries nodes note receipts schemas v");
  const bytes = (text) => fromBase64(text);
  const [contexts, schemas] = ["contexts", "schemas"].map((name) => new Shared(file[name], name, bytes));
  const nodes = new Shared(file.nodes, "nodes", (text) => fromBase64(text, 32));
  const entries = new Shared(file.entries, "entries", (entry) => entry);
  need(typeof file.note === "string" && Array.isArray(file.receipts), "note or receipts are missing");
  need(file.receipts.length > 0 && file.receipts.length <= MANY_RECEIPTS_MAX, "expected 1 to 65,536 receipts");
  const log = await checkNote(new TextEncoder().encode(file.note), keys); // 1
  const [facts, known] = [[], new Map()];
  let last = [-1n, -1n];
  for (const [number, receipt] of file.receipts.entries()) {
    try {
      need(isObject(receipt), "a receipt is none");
      needMembers({ ...receipt, erased: 0 }, "context entry erased index openings path row schema");
      const entry = entries.take(receipt.entry);
      const isNew = !known.has(receipt.entry);
      if (isNew) {
        needMembers(entry, "entry index proof");
        const [index, proof] = [logNumber(entry.index), nodes.takeAll(entry.proof)];
        known.set(receipt.entry, { index, proof, manifest: null, bytes: fromBase64(entry.entry) });
      }
      const of = known.get(receipt.entry);
      const path = nodes.takeAll(receipt.path);
      const schema = schemas.take(receipt.schema);
      const context = receipt.context === null ? null : contexts.take(receipt.context);
      const record = readRecord(receipt, schema, context, path);
      const isLater = of.index > last[0] || (of.index === last[0] && record.index > last[1]);
      need(isLater, "expected the records in the log's order, each once");
      last = [of.index, record.index];
      if (isNew) { // 2, once for all records of an entry
        await checkInclusion(of.bytes, of.index, log.size, of.proof, log.root);
        of.manifest = readManifest(of.bytes);
      }
      facts.push(await checkRecord(log, of.index, of.manifest, record));
    } catch (error) {
      throw error instanceof Failed ? new Failed(`receipt ${number} of the file: ${error.message}`) : error;
    }
  }
  for (const shared of [contexts, entries, nodes, schemas]) shared.needAllTaken();
  return facts;
}

/** What a file says of one record, taken apart: all of it has its form before any of it is checked. */
function readRecord({ row, index, openings, erased }, schemaBytes, contextBytes, path) {
  need(isObject(openings), "expected openings by group");
  const opened = Object.entries(openings).map(([group, opening]) => [group, readOpening(opening)]);
  if (erased !== undefined) {
    need(Array.isArray(erased) && erased.length > 0 && erased.every(isText), "expected a list of erased groups");
    const inOrder = erased.every((group, i) => i === 0 || compareUtf8(erased[i - 1], group) < 0);
    need(inOrder, "the erased groups are out of order");
  }
  const read = { row: fromBase64(row), index: countOf(index), openings: opened, erased: erased ?? [] };
  return { ...read, schemaBytes, contextBytes, path };
}

/** Salt and row of a group, or of the columns that are opened, and the leaves of the others. */
function readOpening(opening) {
  const pair = (one) => {
    needMembers(one, "row salt");
    return { row: fromBase64(one.row), salt: fromHex(one.salt) };
  };
  if (!isObject(opening) || !("fields" in opening)) return pair(opening);
  needMembers(opening, "fields leaves");
  need(isObject(opening.fields) && Object.keys(opening.fields).length > 0, "an opening opens nothing");
  need(Array.isArray(opening.leaves), "expected a list of leaves");
  const fields = new Map(Object.entries(opening.fields).map(([name, one]) => [name, pair(one)]));
  return { fields, leaves: opening.leaves.map((leaf) => fromHex(leaf)) };
}

/** Checks 3 to 7 for one record whose manifest is proven; a context that was left out is null. */
async function checkRecord(log, leafIndex, manifest, record) {
  const { row, index, openings, erased, schemaBytes, contextBytes, path } = record;
  need(toHex(await sha256(schemaBytes)) === manifest.schema, "its schema is not the manifest's"); // 3
  const schema = once(schemaBytes, readSchema);
  await checkInclusion(row, index, manifest.count, path, fromHex(manifest.root)); // 4
  const values = namedValues(row, schema.leaf);
  const seq = manifest.firstSeq + index;
  need(values.get("seq") === seq, "its seq is not that of its place"); // 5
  need(isSame(values.get("stream"), fromHex(manifest.stream, 32)), "its stream is not that of its place");
  const fits = contextBytes === null || isSame(values.get("context"), await sha256(contextBytes));
  need(fits, "its context is not the row's"); // 6
  const id = values.get("id");
  need(id instanceof Uint8Array && id.length === 16, "its id is none");
  const [opened, undisclosed] = [Object.create(null), Object.create(null)];
  for (const [group, opening] of openings) {
    opened[group] = await openGroup(schema, values, group, opening); // 7
    const hidden = schema.groups.get(group).filter((name) => !(name in opened[group]));
    if (hidden.length) undisclosed[group] = hidden;
  }
  const isGone = erased.every((group) => schema.groups.has(group) && !(group in opened));
  need(isGone, "says that something was erased which it opens, or does not have");
  return {
    context: contextBytes === null ? null : once(contextBytes, fromJson),
    erased,
    id: toHex(id).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"),
    leaf_index: leafIndex,
    opened,
    origin: log.origin,
    root: toHex(log.root),
    sealed: [...schema.groups.keys()].filter((group) => !(group in opened)),
    seq: String(seq),
    stream: manifest.stream,
    tree_size: log.size,
    undisclosed,
    values: plainByName([...values].filter(([name]) => !name.startsWith("commitment."))),
    witnesses: log.witnesses,
  };
}

/** Section 5: commitment = SHA-256(domain, length and name of the group, salt, row); of a group by field, openFields. */
async function openGroup(schema, values, group, opening) {
  const commitment = values.get(`commitment.${escapeName(group)}`);
  const isThere = schema.groups.has(group) && commitment instanceof Uint8Array;
  need(isThere, "opens a group the record does not have");
  const isByField = schema.byField.includes(group);
  need(isByField === "fields" in opening, "opens a group in another way than it is committed to");
  const name = new TextEncoder().encode(group);
  need(name.length > 0 && name.length <= 255, "the name of a group is too long");
  const names = schema.groups.get(group);
  const committed = isByField
    ? ["backstory/commitment/v2\0", await fieldsRoot(names, opening)]
    : ["backstory/commitment/v1\0", new Uint8Array([...opening.salt, ...opening.row])];
  const digest = await sha256(new TextEncoder().encode(committed[0]), [name.length], name, committed[1]);
  need(isSame(commitment, digest), `the opening of group '${group}' is not what was committed to`);
  if (!isByField) return plainByName(namedValues(opening.row, names));
  return plainByName([...opening.fields].flatMap(([column, { row }]) => [...namedValues(row, [column])]));
}

/** Section 5, by field: how many columns there are, and the root over their leaves. */
async function fieldsRoot(names, { fields, leaves }) {
  const isOfThem = [...fields.keys()].every((name) => names.includes(name));
  need(isOfThem && fields.size + leaves.length === names.length, "opens other columns than there are");
  const hidden = leaves.values();
  let level = [];
  for (const name of names) {
    const one = fields.get(name);
    level.push(one === undefined ? hidden.next().value : await sha256([0], one.salt, one.row));
  }
  while (level.length > 1) { // a last one without a neighbour moves up
    const above = [];
    for (let i = 0; i + 1 < level.length; i += 2) above.push(await sha256([1], level[i], level[i + 1]));
    level = level.length % 2 ? [...above, level.at(-1)] : above;
  }
  const count = new DataView(new ArrayBuffer(4));
  count.setUint32(0, names.length, true);
  return new Uint8Array([...new Uint8Array(count.buffer), ...level[0]]);
}

// --- The log: notes, cosignatures, inclusion ---------------------------------------------------------------------------

/** C2SP signed-note, tlog-checkpoint and tlog-cosignature. Returns what the log signed, and who else. */
async function checkNote(data, { logKeys, witnessKeys, quorum }) {
  need(data.length <= NOTE_MAX, "the note is too large");
  const content = decodeUtf8(data);
  const end = content.lastIndexOf("\n\n"); // the last empty line parts text and signatures
  need(end >= 0 && content.length > end + 2 && content.endsWith("\n"), "expected a note with signature lines");
  // eslint-disable-next-line no-control-regex
  need(!/[\x00-\x09\x0b-\x1f]/.test(content) && content[0] !== "\ufeff", "the note has control characters");
  const [text, lines] = [content.slice(0, end + 1), content.slice(end + 2, -1).split("\n")];
  need(lines.length <= 100, "too many signatures");
  const signatures = lines.map(readSignature);
  const parts = text.split("\n");
  need(parts.length === 4 && parts[3] === "", "expected a checkpoint of three lines");
  const [origin, size, root] = [checkName(parts[0]), logNumber(parts[1]), fromBase64(parts[2], 32)];
  need(size > 0n || isSame(root, await sha256()), "an empty log has another root");
  const own = logKeys.filter((key) => key.name === origin);
  const seen = new Map();
  const named = [];
  for (const { name, id, signature } of signatures) { // lines of unknown keys are passed over; all others must hold
    const key = [...own, ...witnessKeys].find((known) => known.name === name && isSame(known.id, id));
    if (!key) continue;
    need(!named.includes(key), "a key has two signatures");
    named.push(key);
    if (own.includes(key)) {
      need(await isEd25519(key, new TextEncoder().encode(text), signature), "the log's signature does not hold");
      continue;
    }
    need(signature.length === 72, "a cosignature has another size");
    const time = BigInt(`0x${toHex(signature.subarray(0, 8))}`);
    const message = new TextEncoder().encode(`cosignature/v1\ntime ${time}\n${text}`);
    const holds = time < 2n ** 63n && (await isEd25519(key, message, signature.subarray(8)));
    need(holds, "a cosignature does not hold");
    const isOwn = name === origin || own.some((log) => isSame(log.bytes, key.bytes)); // no log is its own witness
    if (!isOwn) seen.set(key.text, String(time));
  }
  const signers = own.filter((key) => named.some((signer) => key.name === signer.name && isSame(key.id, signer.id)));
  need(signers.length, "no signature is by the given key");
  const speaks = signers.some((key) => key.from <= size && size <= key.until);
  need(speaks, "the key that signed does not speak for a tree of this size");
  need(seen.size >= quorum, `expected cosignatures of ${quorum} witnesses, got ${seen.size}`);
  const who = [...seen].sort(([a], [b]) => compareUtf8(a, b)).map(([vkey, time]) => ({ time, vkey }));
  return { origin, size, root, witnesses: witnessKeys.length ? who : null };
}

/** One signature line: an em dash, the key's name, base64 of the key's id (4 bytes) and the signature. */
function readSignature(line) {
  const [mark, name, encoded, ...rest] = line.split(" ");
  need(mark === "\u2014" && encoded !== undefined && !rest.length, "expected a signature line");
  const blob = fromBase64(encoded);
  need(blob.length > 4, "a signature is too short");
  return { name: checkName(name), id: blob.subarray(0, 4), signature: blob.subarray(4) };
}

/** C2SP signed-note: no space and no plus sign in a name; at most 255 bytes here. */
function checkName(name) {
  const size = new TextEncoder().encode(name).length;
  need(size > 0 && size <= 255, "a name is empty or too long");
  // eslint-disable-next-line no-control-regex
  need(!/[\s\x00-\x1f\x85+\ufeff]/.test(name), "a name has spaces or plus signs");
  return name;
}

/** RFC 6962 section 2.1.1 in the form of RFC 9162 section 2.1.3.2: exactly as many hashes as it takes. */
async function checkInclusion(leaf, index, size, path, root) {
  need(index < size, "an index is outside its tree");
  let [node, last, digest] = [index, size - 1n, await sha256([0], leaf)];
  for (const sibling of path) {
    need(last > 0n, "a path is too long");
    if (node & 1n || node === last) {
      digest = await sha256([1], sibling, digest);
      while (node && !(node & 1n)) [node, last] = [node >> 1n, last >> 1n];
    } else {
      digest = await sha256([1], digest, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  need(last === 0n, "a path is too short");
  need(isSame(digest, root), "a path leads to another root");
}

// --- What is recorded: manifest, schema, row ---------------------------------------------------------------------------

const FILE_NAME = /^[0-9A-Za-z_-][0-9A-Za-z_.-]{0,254}$/;
const TYPE =
  /^(?:null|bool|u?int(?:8|16|32|64)|float(?:16|32|64)|string|bytes|date|time|duration|timestamp(?:\[[^[\]\x00-\x20]{1,64}\])?|decimal\([0-9]{1,2},-?[0-9]{1,2}\))$/u; // eslint-disable-line no-control-regex

/** Section 12: the entry `segment.sealed`. */
function readManifest(entry) {
  const manifest = fromJson(entry);
  need(manifest.type === "segment.sealed", "its entry is not a manifest");
  checkVersion(manifest, "manifest");
  need([manifest.kind, manifest.first_time, manifest.last_time].every(isText), "a malformed manifest");
  for (const digits of [manifest.stream, manifest.first_id, manifest.last_id]) fromHex(digits, 32);
  for (const digits of [manifest.schema, manifest.root]) fromHex(digits);
  const contexts = manifest.contexts;
  need(Array.isArray(contexts) && contexts.length > 0 && contexts.length <= 256, "a malformed manifest");
  contexts.forEach((digest) => fromHex(digest));
  for (const file of manifest.shard === null || manifest.shard === undefined ? [manifest.file] : [manifest.file, manifest.shard]) {
    need(isObject(file) && isText(file.name), "a malformed manifest");
    need(FILE_NAME.test(file.name), "a file has a name that no file has");
    fromHex(file.sha256);
    countOf(file.size);
  }
  const count = countOf(manifest.count);
  need(count > 0n && count <= 1_048_576n, "expected 1 to 1,048,576 records in a segment");
  const { stream, schema, root } = manifest;
  return { stream, schema, root, count, firstSeq: countOf(manifest.first_seq) };
}

/** Section 4. Returns the names of the cells of a leaf, and those of each sealed group, in byte order. */
function readSchema(data) {
  const schema = fromJson(data);
  checkVersion(schema, "schema");
  needMembers({ ...schema, fields: 0 }, "columns fields kind v");
  need(isText(schema.kind) && Array.isArray(schema.columns), "a malformed schema");
  const [names, leaf, groups] = [[], [], new Map()];
  for (const column of schema.columns) {
    needMembers(column, "class group name type");
    need(isText(column.name) && (column.group === null || isText(column.group)), "a malformed column");
    need(["D0", "D1", "D2", "D3", "D4", "D5", "D6", "D7"].includes(column.class), "a column has an unknown class");
    checkType(column.type, 0);
    names.push(column.name);
    if (column.group === null) leaf.push(column.name);
    else groups.set(column.group, [...(groups.get(column.group) ?? []), column.name]);
  }
  leaf.push(...[...groups.keys()].map((group) => `commitment.${escapeName(group)}`));
  const isDistinct = (list) => new Set(list).size === list.length;
  need(names.length <= 65_535 && isDistinct(names) && isDistinct(leaf), "two columns have one name");
  const ordered = [...groups].sort(([a], [b]) => compareUtf8(a, b)).map(([g, list]) => [g, list.sort(compareUtf8)]);
  const byField = schema.fields ?? [];
  need(Array.isArray(byField) && (byField.length > 0 || schema.fields === undefined), "expected a list of groups");
  const known = ordered.map(([group]) => group).filter((group) => byField.includes(group));
  need(known.length === byField.length && known.every((group, i) => group === byField[i]), "unknown groups");
  return { leaf: leaf.sort(compareUtf8), groups: new Map(ordered), byField };
}

/** Section 4: a primitive type, a list, or a struct inside a list. */
function checkType(kind, depth) {
  need(depth <= 32, "a type is nested too deep");
  const members = isObject(kind) ? Object.keys(kind).join() : "";
  if (members === "list") return checkType(kind.list, depth + 1);
  if (members === "struct" && depth && Array.isArray(kind.struct)) {
    for (const field of kind.struct) {
      needMembers(field, "name type");
      need(isText(field.name), "a field has no name");
      checkType(field.type, depth + 1);
    }
    const names = new Set(kind.struct.map((field) => field.name));
    return need(names.size && names.size === kind.struct.length, "two fields have one name");
  }
  return need(isText(kind) && TYPE.test(kind), "an unknown type");
}

/** Section 2, rule 3: dots and backslashes in a part of a name are escaped. */
function escapeName(part) {
  return part.replace(/[\\.]/g, "\\$&");
}

/** The values of a row by name; the names are not in the row, but in the schema, in byte order. */
function namedValues(row, names) {
  need(row[0] === 0x42 && row[1] === 0x52 && row[2] === 1 && row[3] === 0, "a row begins with something else");
  const values = readCells(row.subarray(4), 0);
  need(values.length === names.length, "a row has another number of columns than its schema");
  return new Map(names.map((name, i) => [name, values[i]]));
}

/** Section 2: a count, cells of 9 bytes (tag and payload), then what did not fit into them. */
function readCells(data, depth) {
  need(data.length >= 4 && depth <= 32, "a row is cut short or nested too deep");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const count = view.getUint32(0, true);
  const end = 4 + 9 * count;
  need(end <= data.length && (depth || count <= 65_535), "a row has too many cells");
  let at = end;
  const values = [];
  for (let start = 4; start < end; start += 9) {
    const tag = data[start];
    need(tag !== (depth ? 0x0b : 0x14), "a cell stands where it cannot");
    let content = data.subarray(at, at);
    if (tag >= 0x10 && tag <= 0x14) {
      const length = view.getBigUint64(start + 1, true);
      need(length <= BigInt(data.length - at), "the content of a cell is cut short");
      content = data.subarray(at, at + Number(length));
      at += Number(length);
    }
    values.push(readCell(tag, new DataView(view.buffer, view.byteOffset + start + 1, 8), content, depth));
  }
  need(at === data.length, "there are bytes behind a row");
  return values;
}

/** One value; each has one form only. */
function readCell(tag, payload, content, depth) {
  const number = payload.getBigUint64(0, true);
  if ([0x02, 0x06, 0x07, 0x08, 0x09, 0x0a].includes(tag)) return payload.getBigInt64(0, true);
  if (tag === 0x03) return number;
  if (tag === 0x04 || tag === 0x05) {
    const value = tag === 0x04 ? payload.getFloat64(0, true) : payload.getFloat32(0, true);
    need(!Number.isNaN(value) || number === (tag === 0x04 ? 0x7ff8n << 48n : 0x7fc0n << 16n), "NaN in another form");
    need(tag === 0x04 || number < 2n ** 32n, "a malformed cell");
    return pythonFloat(value);
  }
  if (tag === 0x01) {
    need(number <= 1n, "a malformed cell");
    return number === 1n;
  }
  if (tag === 0x00 || tag === 0x0b) {
    need(number <= (tag ? 32n : 0n), "a malformed cell");
    return null;
  }
  if (tag === 0x11) return content;
  if (tag === 0x13 || tag === 0x14) {
    const values = readCells(content, depth + 1);
    const tags = new Set(values.map((_, i) => content[4 + 9 * i]).filter((t) => t));
    need(tag === 0x14 || tags.size <= 1, "a list of several types");
    return values;
  }
  need(tag === 0x10 || tag === 0x12, "a cell of an unknown type");
  const text = decodeUtf8(content);
  if (tag === 0x12) {
    need(/^-?(0|[1-9][0-9]*)(\.[0-9]+)?$/.test(text), "a malformed decimal");
    need(!text.startsWith("-") || /[1-9]/.test(text), "a decimal is minus zero");
  }
  return text;
}

/** A float with the fewest digits that give it back, spelled as Python does. */
function pythonFloat(value) {
  if (Number.isNaN(value)) return "nan";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  if (!Number.isFinite(value)) return `${sign}inf`;
  const [mantissa, exponentText] = Math.abs(value).toExponential().split("e");
  const [digits, exponent] = [mantissa.replace(".", ""), Number(exponentText)];
  if (exponent >= 16 || exponent < -4) {
    const tail = `${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
    return `${sign}${mantissa}e${tail}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

/** A value as JSON: numbers as text, so that none loses digits; bytes as hex. */
function plain(value) {
  if (value instanceof Uint8Array) return toHex(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? String(value) : value;
}

/** Values as an object; one without a prototype, as a column may be called `__proto__`. */
function plainByName(pairs) {
  const named = Object.create(null);
  for (const [name, value] of pairs) named[name] = plain(value);
  return named;
}

// --- Forms with exactly one spelling -----------------------------------------------------------------------------------

/** A list of a `.receipts`: each thing once, in the order of its first use, and none that nobody uses. */
class Shared {
  constructor(items, name, read) {
    need(Array.isArray(items), `expected a list ${name}`);
    need(new Set(items.map((item) => toJson(item, 0))).size === items.length, `something stands twice in ${name}`);
    [this.items, this.name, this.taken] = [items.map(read), name, 0];
  }

  /** The thing at a position. */
  take(position) {
    const isInOrder = typeof position === "number" && position >= 0 && position <= this.taken;
    need(isInOrder && position < this.items.length, `a position in ${this.name} is out of order`);
    this.taken = Math.max(this.taken, position + 1);
    return this.items[position];
  }

  /** Hashes at several positions. */
  takeAll(positions) {
    need(Array.isArray(positions), "expected a list of positions");
    need(positions.length <= 63, "expected at most 63 positions");
    return positions.map((position) => this.take(position));
  }

  /** Nothing may be left over. */
  needAllTaken() {
    need(this.taken === this.items.length, `something in ${this.name} is of no record`);
  }
}

const made = new WeakMap();

/** What a reader makes of some bytes: once, however many records share them. */
function once(data, read) {
  if (!made.has(data)) made.set(data, read(data));
  return made.get(data);
}

/** Section 1: canonical JSON (RFC 8785) without floats; bytes that are not what their value is written as, fail. */
function fromJson(data) {
  const text = decodeUtf8(data);
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Failed("expected canonical JSON");
  }
  need(isObject(value) && toJson(value, 0) === text, "expected an object in canonical JSON");
  return value;
}

/** The one canonical form of a value. */
function toJson(value, depth) {
  need(depth <= 32, "JSON is nested too deep");
  if (Array.isArray(value)) return `[${value.map((item) => toJson(item, depth + 1)).join()}]`;
  if (isObject(value)) {
    const members = Object.keys(value).sort(); // by UTF-16 code units, as RFC 8785 wants it
    return `{${members.map((name) => `${toJson(name, depth)}:${toJson(value[name], depth + 1)}`).join()}}`;
  }
  need(typeof value !== "number" || Number.isSafeInteger(value), "expected integers below 2^53");
  need(!isText(value) || !/\p{Surrogate}/u.test(value), "expected Unicode text");
  return JSON.stringify(value);
}

/** RFC 4648 section 4, padded, no stray bits, not empty. */
function fromBase64(text, size) {
  need(isText(text), "expected base64");
  let binary;
  try {
    binary = atob(text);
  } catch {
    throw new Failed("expected base64");
  }
  need(binary.length > 0 && btoa(binary) === text, "expected canonical base64");
  need(size === undefined || binary.length === size, `expected ${size} bytes`);
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** Bytes from lower-case hex digits. */
function fromHex(text, digits = 64) {
  need(isText(text) && text.length === digits && /^[0-9a-f]*$/.test(text), `expected ${digits} hex digits`);
  return Uint8Array.from(text.match(/../g), (pair) => Number.parseInt(pair, 16));
}

/** A size or index of the log: plain decimal below 2^63. */
function logNumber(text) {
  need(isText(text) && /^(0|[1-9][0-9]{0,18})$/.test(text) && BigInt(text) < 2n ** 63n, "expected a number");
  return BigInt(text);
}

/** A count as text: plain decimal, at most 20 digits. */
function countOf(text) {
  need(isText(text) && /^(0|[1-9][0-9]{0,19})$/.test(text), "expected a count");
  return BigInt(text);
}

/** Version 1 is what this program knows; a higher one is not wrong, but not for it to judge. */
function checkVersion(document, what) {
  const version = document.v;
  if (typeof version === "number" && version > 1) {
    throw new CannotCheck(`the ${what} is of version ${version}; this program knows version 1`);
  }
  need(version === 1, `the ${what} has no version`);
}

/** Insist on an object with exactly these members. */
function needMembers(value, names) {
  need(isObject(value) && Object.keys(value).sort().join(" ") === names, `expected the members ${names}`);
}

/** UTF-8 and nothing else. */
function decodeUtf8(data) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new Failed("expected UTF-8");
  }
}

/** Order of the UTF-8 bytes of two texts. */
function compareUtf8(one, other) {
  const [a, b] = [new TextEncoder().encode(one), new TextEncoder().encode(other)];
  const at = a.findIndex((byte, i) => byte !== b[i]);
  return at < 0 ? a.length - b.length : a[at] - (b[at] ?? -1);
}

function isText(value) {
  return typeof value === "string";
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSame(one, other) {
  return one instanceof Uint8Array && one.length === other.length && one.every((byte, i) => byte === other[i]);
}

function toHex(data) {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Fail unless a condition holds. */
function need(condition, what) {
  if (!condition) throw new Failed(what);
}

// --- WebCrypto ---------------------------------------------------------------------------------------------------------

async function sha256(...parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return new Uint8Array(await subtle().digest("SHA-256", joined));
}

/** RFC 8032, by WebCrypto. */
async function isEd25519({ key }, message, signature) {
  return signature.length === 64 && subtle().verify("Ed25519", key, signature, message);
}

function subtle() {
  if (!globalThis.crypto?.subtle) throw new CannotCheck("this browser offers no WebCrypto to this page");
  return globalThis.crypto.subtle;
}

/** Verifier keys, one a line: name, 8 hex digits of the id, base64 of type and 32 bytes; ` from N`, ` until N` behind. */
async function readKeys(texts, kind) {
  const lines = texts.flatMap((text) => text.split("\n")).filter((line) => line.trim());
  return Promise.all(lines.map((line) => readKey(line, kind)));
}

async function readKey(line, kind) {
  const [, text = "", first = "0", last = String(2n ** 63n - 1n)] =
    /^(\S+)(?: from (\S+))?(?: until (\S+))?$/.exec(line.trim()) ?? [];
  const [name, hexId, ...rest] = text.split("+");
  try {
    const data = fromBase64(rest.join("+"), 33);
    const [bytes, from, until] = [data.subarray(1), logNumber(first), logNumber(last)];
    const id = (await sha256(new TextEncoder().encode(`${checkName(name)}\n`), data)).subarray(0, 4);
    need(data[0] === kind && toHex(id) === hexId && from <= until && !isWeak(bytes), "");
    return { text, name, id, bytes, from, until, key: await importKey(bytes) };
  } catch (error) {
    if (error instanceof CannotCheck) throw error;
    throw new AskedWrongly("this is no public key of this kind; give it as it was published");
  }
}

/** Whether a key is no point, is written in a second way, or has small order: under such a point anyone can sign. */
function isWeak(bytes) {
  const y = BigInt(`0x${toHex(bytes.toReversed())}`) & ((1n << 255n) - 1n);
  const [p, eighth] = [2n ** 255n - 19n, 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n];
  const isPoint = power((y * y - 1n) * (EDWARDS_D * y * y + 1n), (p - 1n) / 2n, p) === 1n; // x has a square root
  return y >= p || [0n, 1n, p - 1n, eighth, p - eighth].includes(y) || !isPoint;
}

/** RFC 8032 section 5.1. */
const EDWARDS_D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n;

/** A power modulo a prime. */
function power(number, exponent, prime) {
  let [result, square] = [1n, ((number % prime) + prime) % prime];
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % prime;
    square = (square * square) % prime;
  }
  return result;
}

async function importKey(bytes) {
  try {
    return await subtle().importKey("raw", bytes, "Ed25519", false, ["verify"]);
  } catch (error) {
    if (error.name === "NotSupportedError") throw new CannotCheck("this browser cannot check Ed25519 signatures; a newer one can");
    throw error;
  }
}

// --- For readers -------------------------------------------------------------------------------------------------------

/** Facts as JSON text, with every digit of large numbers. */
export function factsToJson(value, indent = "") {
  const inner = `${indent}  `;
  const block = (open, lines, close) => (lines.length ? `${open}\n${inner}${lines.join(`,\n${inner}`)}\n${indent}${close}` : open + close);
  if (Array.isArray(value)) return block("[", value.map((item) => factsToJson(item, inner)), "]");
  if (isObject(value)) {
    const members = Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${factsToJson(item, inner)}`);
    return block("{", members, "}");
  }
  return typeof value === "bigint" ? String(value) : JSON.stringify(value);
}

/** Nanoseconds since 1970 as RFC 3339 text; what is no number of them, as it is. */
export function timeText(nanoseconds) {
  if (!/^-?[0-9]{1,20}$/.test(nanoseconds)) return String(nanoseconds);
  const [total, second] = [BigInt(nanoseconds), 10n ** 9n];
  const rest = ((total % second) + second) % second;
  const moment = new Date(Number((total - rest) / 10n ** 6n)).toISOString().slice(0, 19);
  return `${moment}.${String(rest).padStart(9, "0")}Z`;
}

/** Text on one line: what nobody sees, or what moves other text about, is spelled out. */
export function onOneLine(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** One record as lines of text. */
function describe(facts) {
  const envelope = new Set(["id", "stream", "seq", "time", "kind", "context", "batch_row", "batch_rows"]);
  const shown = [facts.values, ...Object.values(facts.opened)].flatMap((values) => Object.entries(values));
  const model = facts.context?.model;
  const { name = "?", version = "?", digest = "?" } = isObject(model) ? model : {};
  return [
    `prediction ${facts.id}`,
    `in the log of ${facts.origin} at tree size ${facts.tree_size}, entry ${facts.leaf_index}, root ${facts.root}`,
    ...(isObject(model) ? [`model ${name} version ${version}, digest ${digest}`] : []),
    `recorded ${timeText(facts.values.time ?? 0)}, stream ${facts.stream}, seq ${facts.seq}`,
    ...shown.filter(([name]) => !envelope.has(name.split(".")[0])).map(([name, value]) => `  ${name} = ${value}`),
    ...Object.values(facts.undisclosed).flat().map((name) => `  ${name}: committed, not disclosed`),
    ...(facts.context === null ? [`  context: committed, not shown; SHA-256 ${facts.values.context}`] : []),
    ...facts.sealed.map((group) => `  sealed group '${group}': committed, ${shownAs(facts, group)}`),
  ];
}

function shownAs(facts, group) {
  return facts.erased.includes(group) ? "erased, as whoever made this says" : "not shown";
}

const USAGE = `usage: node verify_receipt.mjs FILE --vkey KEY [--vkey KEY …] [--witness KEY … [--quorum K]] [--json]

FILE        a receipt of one record (.tlog-proof) or of many (.receipts)
--vkey      the log's public key, got from somewhere else than FILE; repeated where the log changed its key
--witness   public key of a witness; repeated
--quorum    how many of the witnesses must have cosigned; all, without it

Exit code 0: verified. 20: does not verify. 21: cannot be checked, which says nothing about it. 2: asked wrongly.`;

async function main(node, fs) {
  const asked = { "--vkey": [], "--witness": [], "--quorum": [], file: [] };
  const words = node.argv.slice(2);
  const asJson = words.includes("--json");
  for (let at = 0; at < words.length; at += 1) {
    if (words[at].startsWith("--") && words[at] in asked) asked[words[at]].push(words[(at += 1)] ?? "");
    else if (["-h", "--help"].includes(words[at])) return USAGE;
    else if (words[at] !== "--json") asked.file.push(words[at]);
  }
  const { "--vkey": vkeys, "--witness": witnesses, "--quorum": [quorum = witnesses.length] } = asked;
  if (asked.file.length !== 1) throw new AskedWrongly(USAGE.split("\n")[0]);
  let data;
  try {
    data = fs.readFileSync(asked.file[0]);
  } catch (error) {
    throw new CannotCheck(error.message);
  }
  const facts = await checkFile(new Uint8Array(data), { vkeys, witnesses, quorum: Number(quorum) });
  if (asJson) return factsToJson({ verdict: "verified", ...(facts.length === 1 ? facts[0] : { receipts: facts }) });
  const names = (facts[0].witnesses ?? []).map((by) => `${by.vkey.split("+")[0]} at second ${by.time}`).join(", ");
  const who = names ? `cosigned by ${names}` : "no witness was asked for";
  const total = `: ${facts.length} predictions in the log of ${facts[0].origin} at tree size ${facts[0].tree_size}`;
  const verdict = `verified under the given key${facts.length > 1 ? total : ""}`;
  return [verdict, ...facts.flatMap(describe), who].map(onOneLine).join("\n");
}

if (globalThis.process?.argv?.[1]) {
  const [fs, url] = await Promise.all([import("node:fs"), import("node:url")]);
  const started = fs.realpathSync(process.argv[1]);
  if (url.pathToFileURL(started).href === import.meta.url) {
    try {
      process.stdout.write(`${await main(process, fs)}\n`);
    } catch (error) {
      const [code, what] = {
        AskedWrongly: [2, "asked wrongly"], CannotCheck: [21, "cannot be checked"], Failed: [20, "does not verify"],
      }[error.constructor.name] ?? [1, "unexpected"];
      process.stderr.write(`${what}: ${error.message}\n`);
      process.exitCode = code;
    }
  }
}
