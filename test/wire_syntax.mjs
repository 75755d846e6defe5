/* wire_syntax.mjs: how strictly requests are read (the contract, section 5; RFC 9112). Every row runs whole,
    then a byte
 * at a time. A second request follows each row in the same piece: it must be answered where the connection goes on,
 * and never where the first was refused, for then nobody can say where it begins. */
import { describe, test } from 'node:test';
import { Connection, assert, each, join, raw, request, requestOf, start, subscriber } from './wire.mjs';

const HOST = 'Host: localhost\r\n';
const FORM = 'Content-Type: application/x-www-form-urlencoded\r\n';
const LANDING = 'room=tea&name=Ann'; /* 17 bytes, 11 in hex: to /join, which changes nothing and answers 303 */
const SECOND = `GET /healthz HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

const get = (fields = '', target = '/healthz') => `GET ${target} HTTP/1.1\r\n${HOST}${fields}\r\n`;
const post = (fields, content) => `POST /join HTTP/1.1\r\n${HOST}${FORM}${fields}\r\n${content}`;
const chunked = (content) => post('Transfer-Encoding: chunked\r\n', content);
const sized = (length, content = LANDING) => post(`Content-Length: ${length}\r\n`, content);

/* Rows: what it is, the bytes, the status (or those that are right), and whether the connection goes on: GOES, STAYS
 * silent about it (either is right) or ends, as it must after each syntax error. */
const ENDS = 'ends', GOES = 'goes on', EITHER = 'either';
const row = (name, bytes, status, then = [].concat(status).every((each) => each === 400) ? ENDS : GOES) =>
    ({ name, bytes: Buffer.from(bytes, 'latin1'), statuses: [].concat(status), then });

/* ---- running a row ---- */

/* Sends PIECES, each read before the next is sent, and yields all answers. */
async function exchange(server, pieces, methods) {
    const connection = await Connection.open(server);
    const control = pieces.length > 1 ? await Connection.open(server) : null;
    try {
        for (const piece of pieces) {
            if (connection.ended)
                break;
            connection.write(piece);
            await control?.settle();
        }
        return await connection.answersToEnd(methods);
    } finally {
        connection.close();
        control?.close();
    }
}

function checkRow(row, answers) {
    const [first, second, ...rest] = answers.filter((answer) => answer.status >= 200);
    assert.ok(first, 'there is no answer');
    assert.ok(row.statuses.includes(first.status), `${first.status} instead of ${row.statuses.join(' or ')}`);
    assert.equal(rest.length, 0, 'there are more than two answers');
    if (row.then === ENDS)
        assert.ok(!second, 'what follows was answered too');
    if (row.then === GOES)
        assert.ok(second, 'what follows was not answered');
    if (second)
        assert.equal(second.status, 200);
    const last = second ?? first;
    assert.match(last.field('connection') ?? 'nothing', /^close$/i, 'the last answer says that the connection ends');
}

const CHUNK_BYTES = 97; /* a row over a thousand bytes is sent in pieces of these */

function inBytes(bytes) {
    const step = bytes.length > 1000 ? CHUNK_BYTES : 1;
    const pieces = [];
    for (let at = 0; at < bytes.length; at += step)
        pieces.push(bytes.subarray(at, at + step));
    return pieces;
}

function methodsOf(row) {
    return [/^\r?\n?(\S+)/.exec(row.bytes.toString('latin1'))?.[1]];
}

/* Runs ROWS whole and split. */
async function runRows(t, rows) {
    const server = await start(t);
    const second = Buffer.from(SECOND);
    await each(rows, async (row) => checkRow(row, await exchange(server, [Buffer.concat([row.bytes, second])],
        methodsOf(row))));
    await each(rows, async (row) => {
        try {
            checkRow(row, await exchange(server, [...inBytes(row.bytes), second], methodsOf(row)));
        } catch (error) {
            throw new Error(`in pieces: ${error.message}`);
        }
    });
}

/* ---- the head ---- */

const requestLines = [
    row('a plain request', get(), 200),
    row('two blanks before the target', `GET  /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('two blanks before the version', `GET /healthz  HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a blank before the method', ` GET /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a blank after the version', `GET /healthz HTTP/1.1 \r\n${HOST}\r\n`, 400),
    row('tabs for blanks', `GET\t/healthz\tHTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a vertical tab for a blank', `GET\x0b/healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('no version', `GET /healthz\r\n${HOST}\r\n`, 400),
    row('no target', `GET HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('an empty target', `GET  HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a word too many', `GET /healthz x HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a bare LF at the end of the request line', `GET /healthz HTTP/1.1\n${HOST}\r\n`, 400),
    row('bare LFs throughout', `GET /healthz HTTP/1.1\nHost: localhost\n\n`, 400),
    row('a bare CR in the request line', `GET /healthz\rHTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a CR too many at the end of the request line', `GET /healthz HTTP/1.1\r\r\n${HOST}\r\n`, 400),
    row('a NUL in the target', `GET /heal\0thz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a NUL in the method', `G\0T /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a control character in the target', `GET /\x07 HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a DEL in the target', `GET /\x7f HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('raw UTF-8 in the target', `GET /r/caf\xc3\xa9 HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a fragment in the target', `GET /healthz#top HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a target without its slash', `GET healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('an asterisk for GET', `GET * HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('an asterisk for OPTIONS', `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`, [404, 405], EITHER),
    row('an asterisk and more for OPTIONS', `OPTIONS *x HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('CONNECT', `CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n`, [404, 405], EITHER),
    row('CONNECT with a path', `CONNECT /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a lower-case method', `get /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, EITHER),
    row('a method nobody knows', `BREW /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, EITHER),
    row('a method one letter longer', `GETS /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, EITHER),
    row('a method one letter shorter', `GE /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, EITHER),
    row('a long method', `${'A'.repeat(200)} /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, EITHER),
    row('a method that is no token', `G(T /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a colon in the method', `GET: /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('no method', ` /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a TLS greeting', `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n`, 400),
    row('an empty line first', `\r\n${get()}`, 200),
    row('a bare LF first', `\n${get()}`, [400, 200], EITHER),
    row('a bare CR first', `\r${get()}`, 400)
];

const versions = [
    row('HTTP/1.0', `GET /healthz HTTP/1.0\r\n${HOST}\r\n`, 200, ENDS),
    row('HTTP/1.2, to be taken as 1.1', `GET /healthz HTTP/1.2\r\n${HOST}\r\n`, 200),
    row('HTTP/2.0', `GET /healthz HTTP/2.0\r\n${HOST}\r\n`, 505, ENDS),
    row('HTTP/0.9', `GET /healthz HTTP/0.9\r\n${HOST}\r\n`, 505, ENDS),
    row('the preface of HTTP/2', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, [505, 400], ENDS),
    row('a lower-case name', `GET /healthz http/1.1\r\n${HOST}\r\n`, 400),
    row('two digits', `GET /healthz HTTP/1.10\r\n${HOST}\r\n`, 400),
    row('two digits in front', `GET /healthz HTTP/01.1\r\n${HOST}\r\n`, 400),
    row('no dot', `GET /healthz HTTP/11\r\n${HOST}\r\n`, 400),
    row('no minor', `GET /healthz HTTP/1\r\n${HOST}\r\n`, 400),
    row('a letter', `GET /healthz HTTP/1.x\r\n${HOST}\r\n`, 400),
    row('a rest', `GET /healthz HTTP/1.1x\r\n${HOST}\r\n`, 400),
    row('another name', `GET /healthz HTCPCP/1.0\r\n${HOST}\r\n`, 400)
];

const targets = [
    row('absolute form', get('', 'http://localhost/healthz'), 200),
    row('absolute form in capitals', get('', 'HTTP://LOCALHOST/healthz'), 200),
    row('absolute form without a path', get('', 'http://localhost'), 200),
    row('absolute form with a query alone', get('', 'http://localhost?x'), 200),
    row('absolute form: its authority counts, not Host',
        `GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example.com\r\n\r\n`, 200),
    row('absolute form for a host that is not ours', get('', 'http://evil.example.com/healthz'), 421, EITHER),
    row('absolute form with a user', get('', 'http://ann@localhost/healthz'), 400),
    row('absolute form without a host', get('', 'http:///healthz'), 400),
    row('absolute form without Host', `GET http://localhost/healthz HTTP/1.1\r\n\r\n`, 400),
    row('half an absolute form', get('', 'http:/healthz'), 400),
    row('an escape that is none', get('', '/r/%zz'), [400, 404], EITHER),
    row('half an escape', get('', '/r/tea%2'), [400, 404], EITHER),
    row('a query', get('', '/healthz?a=b&c'), 200),
    row('an empty query', get('', '/healthz?'), 200),
    row('two question marks', get('', '/healthz??'), 200)
];

const fields = [
    row('every character a name may have', get("!#$%&'*+-.^_`|~0aZ: x\r\n"), 200),
    row('an empty value', get('X:\r\n'), 200),
    row('blanks and tabs around a value', get('X: \t a b\t \r\n'), 200),
    row('Latin-1 in a value', get('X: caf\xe9\r\n'), 200),
    row('the same field twice', get('X: a\r\nX: b\r\n'), 200),
    row('a blank before the colon', get('X : a\r\n'), 400),
    row('a tab before the colon', get('X\t: a\r\n'), 400),
    row('a blank in the name', get('X Y: a\r\n'), 400),
    row('no colon', get('X\r\n'), 400),
    row('no name', get(': a\r\n'), 400),
    row('a NUL in the name', get('X\0: a\r\n'), 400),
    row('UTF-8 in the name', get('caf\xc3\xa9: a\r\n'), 400),
    row('a bracket in the name', get('X(: a\r\n'), 400),
    row('a NUL in the value', get('X: a\0b\r\n'), 400),
    row('a bare CR in the value', get('X: a\rb\r\n'), 400),
    row('a bare CR at the end of the value', get('X: a\r\r\n'), 400),
    row('a bare LF at the end of a field', get('X: a\nY: b\r\n'), 400),
    row('a bare LF for the last line', `GET /healthz HTTP/1.1\r\n${HOST}\n`, 400),
    row('a control character in the value', get('X: a\x01b\r\n'), 400),
    row('a DEL in the value', get('X: a\x7fb\r\n'), 400),
    row('a folded line', get('X: a\r\n b\r\n'), 400),
    row('a line folded by a tab', get('X: a\r\n\tb\r\n'), 400),
    row('a folded line that is blank', get('X: a\r\n \r\n'), 400),
    row('a blank before the first field', `GET /healthz HTTP/1.1\r\n ${HOST}\r\n`, 400),
    row('a blank line before the first field', `GET /healthz HTTP/1.1\r\n \r\n${HOST}\r\n`, 400),
    row('a request hidden in a folded line', get('X: a\r\n GET /rooms HTTP/1.1\r\n'), 400),
    row('an upgrade nobody does', get('Connection: Upgrade\r\nUpgrade: h2c\r\n'), 200),
    row('Connection: close', get('Connection: close\r\n'), 200, ENDS),
    row('Connection: CLOSE among others', get('Connection: foo, CLOSE ,bar\r\n'), 200, ENDS),
    row('close in a second Connection', get('Connection: foo\r\nConnection: close\r\n'), 200, ENDS),
    row('close beats keep-alive', get('Connection: keep-alive, close\r\n'), 200, ENDS),
    row('closed is not close', get('Connection: closed\r\n'), 200)
];

const withHost = (lines) => `GET /healthz HTTP/1.1\r\n${lines}\r\n`;
const hosts = [
    row('none', withHost(''), 400),
    row('none, with fields', withHost('X: a\r\n'), 400),
    row('twice the same', withHost(HOST + HOST), 400),
    row('two', withHost(`${HOST}host: 127.0.0.1\r\n`), 400),
    row('empty', withHost('Host:\r\n'), [400, 421], EITHER),
    row('a blank inside', withHost('Host: local host\r\n'), 400),
    row('a path', withHost('Host: localhost/x\r\n'), 400),
    row('a user', withHost('Host: ann@localhost\r\n'), 400),
    row('a scheme', withHost('Host: http://localhost\r\n'), 400),
    row('two in one', withHost('Host: localhost, localhost\r\n'), 400),
    row('a letter in the port', withHost('Host: localhost:80x\r\n'), 400),
    row('a second colon', withHost('Host: localhost:80:80\r\n'), 400),
    row('half a bracket', withHost('Host: [::1\r\n'), 400),
    row('nothing in brackets', withHost('Host: []\r\n'), 400),
    row('a rest after brackets', withHost('Host: [::1]x\r\n'), 400),
    row('a question mark', withHost('Host: localhost?\r\n'), 400),
    row('UTF-8', withHost('Host: caf\xc3\xa9\r\n'), 400),
    row('a folded one', withHost('Host:\r\n localhost\r\n'), 400),
    row('a port', withHost('Host: localhost:8080\r\n'), 200),
    row('an empty port', withHost('Host: localhost:\r\n'), 200),
    row('none in HTTP/1.0', 'GET /healthz HTTP/1.0\r\n\r\n', 200, ENDS),
    row('two in HTTP/1.0', `GET /healthz HTTP/1.0\r\n${HOST}${HOST}\r\n`, 400)
];

/* A request whose head is LENGTH bytes long. */
const headOf = (length) => get(`X: ${'a'.repeat(length - get('X: \r\n').length)}\r\n`);
const sizes = [
    row('a head of 8 KiB', headOf(8192), 200),
    row('a head one byte longer', headOf(8193), 431, ENDS),
    row('a head twice as long', headOf(16384), 431, ENDS),
    row('a head ten times as long', headOf(81920), 431, ENDS),
    row('a long target', get('', `/${'a'.repeat(7000)}`), 404),
    row('a target longer than a head', get('', `/${'a'.repeat(9000)}`), 414, ENDS),
    row('a query longer than a head', get('', `/healthz?${'a'.repeat(90000)}`), 414, ENDS),
    row('a hundred fields', get('X: a\r\n'.repeat(99)), 200),
    row('a hundred and one fields', get('X: a\r\n'.repeat(100)), 431, ENDS),
    row('a field name longer than a head', get(`${'a'.repeat(9000)}: x\r\n`), 431, ENDS)
];

/* ---- the content ---- */

const SMUGGLED = `GET /rooms HTTP/1.1\r\n${HOST}\r\n`;
const lengths = [
    row('as long as it is', sized('17'), 303),
    row('none, and nothing to read', `POST /join HTTP/1.1\r\n${HOST}${FORM}\r\n`, 400, EITHER),
    row('zero', `POST /join HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`, 400, EITHER),
    row('as long as it is, and no more to come', post('Content-Length: 17\r\nConnection: close\r\n', LANDING), 303,
        ENDS),
    row('in HTTP/1.0', sized('17').replace('/1.1', '/1.0'), 303, ENDS),
    row('the name in capitals', post('CONTENT-LENGTH: 17\r\n', LANDING), 303),
    row('a plus', sized('+17'), 400),
    row('a minus', sized('-17'), 400),
    row('hexadecimal', sized('0x11'), 400),
    row('a fraction', sized('17.0'), 400),
    row('an exponent', sized('17e0'), 400),
    row('two numbers', sized('17 17'), 400),
    row('a list of two the same', sized('17, 17'), 400),
    row('a list of two', sized('17, 18'), 400),
    row('an empty element', sized('17,'), 400),
    row('empty', sized(''), 400),
    row('a letter', sized('17a'), 400),
    row('a vertical tab', sized('17\x0b'), 400),
    row('in quotes', sized('"17"'), 400),
    row('over 64 bits, 17 when cut off', sized('18446744073709551633'), [400, 413], ENDS),
    row('over 32 bits, 17 when cut off', sized('4294967313'), 413, ENDS),
    row('a thousand digits', sized('1'.repeat(1000)), [400, 413], ENDS),
    row('twice the same', post('Content-Length: 17\r\nContent-Length: 17\r\n', LANDING), 400),
    row('two', post('Content-Length: 17\r\nContent-Length: 4\r\n', LANDING), 400),
    row('a blank before the colon', post('Content-Length : 17\r\n', LANDING), 400),
    row('folded', post('Content-Length:\r\n 17\r\n', LANDING), 400),
    row('a content of 16 KiB', sized('16384', `${LANDING}&x=`.padEnd(16384, 'a')), 303),
    row('a content one byte longer', sized('16385', `${LANDING}&x=`.padEnd(16385, 'a')), 413, ENDS),
    row('a request in the content of GET', get(`Content-Length: ${SMUGGLED.length}\r\n`) + SMUGGLED, [200, 400],
        EITHER),
    row('a request in the content of POST', post(`Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED), 400, EITHER)
];

const coded = (coding, content = `11\r\n${LANDING}\r\n0\r\n\r\n`) => post(`Transfer-Encoding: ${coding}\r\n`, content);
const codings = [
    row('chunked', coded('chunked'), 303),
    row('chunked in capitals', coded('Chunked'), 303),
    row('chunked after an empty element', coded(', chunked'), [303, 400, 501], EITHER),
    row('chunked twice', coded('chunked, chunked'), 400),
    row('chunked in two fields', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
        400),
    row('chunked not last', coded('chunked, gzip'), 400),
    row('chunked not last, identity', coded('chunked, identity'), 400),
    row('identity', coded('identity'), [400, 501], ENDS),
    row('gzip', coded('gzip'), [400, 501], ENDS),
    row('gzip, then chunked', coded('gzip, chunked'), [400, 501], ENDS),
    row('gzip and chunked in two fields', post('Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n',
        '0\r\n\r\n'), [400, 501], ENDS),
    row('nearly chunked', coded('xchunked'), [400, 501], ENDS),
    row('chunked and more', coded('chunkedx'), [400, 501], ENDS),
    row('chunked with a parameter', coded('chunked;q=1'), [400, 501], ENDS),
    row('chunked in quotes', coded('"chunked"'), [400, 501], ENDS),
    row('chunked and a vertical tab', coded('chunked\x0b'), [400, 501], ENDS),
    row('empty', coded(''), [400, 501], ENDS),
    row('a blank before the colon', post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'), 400),
    row('folded', post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'), 400),
    row('with a length after', post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n',
        `11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('with a length before', post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
        `11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('with a length, not chunked', post('Content-Length: 17\r\nTransfer-Encoding: identity\r\n', LANDING),
        [400, 501], ENDS),
    row('with a length, nearly chunked', post('Content-Length: 17\r\nTransfer-Encoding: xchunked\r\n', LANDING),
        [400, 501], ENDS),
    row('an underscore: another field', post('Transfer_Encoding: chunked\r\nContent-Length: 17\r\n', LANDING), 303),
    row('in HTTP/1.0', coded('chunked').replace('HTTP/1.1', 'HTTP/1.0'), 400)
];

const BIG = `${LANDING}&x=`.padEnd(16384, 'a');
const chunks = [
    row('one chunk', chunked(`11\r\n${LANDING}\r\n0\r\n\r\n`), 303),
    row('two chunks', chunked('5\r\nroom=\r\nC\r\ntea&name=Ann\r\n0\r\n\r\n'), 303),
    row('a chunk for each byte', chunked(`${[...LANDING].map((c) => `1\r\n${c}\r\n`).join('')}0\r\n\r\n`), 303),
    row('upper-case digits', chunked('1A\r\nroom=tea&name=Ann&x=123456\r\n0\r\n\r\n'), 303),
    row('lower-case digits', chunked('1a\r\nroom=tea&name=Ann&x=123456\r\n0\r\n\r\n'), 303),
    row('zeros in front', chunked(`000011\r\n${LANDING}\r\n000\r\n\r\n`), 303),
    row('an extension', chunked(`11;a\r\n${LANDING}\r\n0;b\r\n\r\n`), 303),
    row('an extension with a value', chunked(`11;a=b\r\n${LANDING}\r\n0\r\n\r\n`), 303),
    row('an extension in quotes', chunked(`11;a="b;c"\r\n${LANDING}\r\n0\r\n\r\n`), 303),
    row('one chunk, and no more to come', post('Connection: close\r\nTransfer-Encoding: chunked\r\n',
        `11\r\n${LANDING}\r\n0\r\n\r\n`), 303, ENDS),
    row('trailers', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\r\nY: b\r\n\r\n`), 303),
    row('a length as a trailer, passed over', chunked(`11\r\n${LANDING}\r\n0\r\nContent-Length: 99\r\n\r\n`), 303),
    row('no size', chunked(`\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a plus', chunked(`+11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a minus', chunked(`-11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('0x', chunked(`0x11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a letter that is no digit', chunked(`1g\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('an underscore', chunked(`1_1\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a blank before the size', chunked(` 11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a blank after the size', chunked(`11 \r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a blank before an extension', chunked(`11 ;a\r\n${LANDING}\r\n0\r\n\r\n`), [303, 400], EITHER),
    row('a bare LF after the size', chunked(`11\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a bare CR after the size', chunked(`11\r${LANDING}\r\n0\r\n\r\n`), 400),
    row('a bare LF in an extension', chunked(`11;a\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a bare CR in an extension', chunked(`11;a\rb\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a NUL in an extension', chunked(`11;\0\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a bare LF after the data', chunked(`11\r\n${LANDING}\n0\r\n\r\n`), 400),
    row('nothing after the data', chunked(`11\r\n${LANDING}0\r\n\r\n`), 400),
    row('two bytes for CRLF', chunked(`11\r\n${LANDING}XX0\r\n\r\n`), 400),
    row('more data than said', chunked(`10\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a bare LF at the end', chunked(`11\r\n${LANDING}\r\n0\r\n\n`), 400),
    row('a bare LF after the last size', chunked(`11\r\n${LANDING}\r\n0\n\r\n`), 400),
    row('over 64 bits, 17 when cut off', chunked(`10000000000000011\r\n${LANDING}\r\n0\r\n\r\n`), [400, 413], ENDS),
    row('over 32 bits, 17 when cut off', chunked(`100000011\r\n${LANDING}\r\n0\r\n\r\n`), [400, 413], ENDS),
    row('all bits', chunked(`FFFFFFFFFFFFFFFF\r\n${LANDING}\r\n0\r\n\r\n`), [400, 413], ENDS),
    row('all but the sign', chunked(`7FFFFFFFFFFFFFFF\r\n${LANDING}\r\n0\r\n\r\n`), [400, 413], ENDS),
    row('a thousand zeros in front', chunked(`${'0'.repeat(1000)}11\r\n${LANDING}\r\n0\r\n\r\n`), [303, 400], EITHER),
    row('16 KiB in all', chunked(`1000\r\n${BIG.slice(0, 4096)}\r\n3000\r\n${BIG.slice(4096)}\r\n0\r\n\r\n`), 303),
    row('a byte more than 16 KiB in all', chunked(`4000\r\n${BIG}\r\n1\r\na\r\n0\r\n\r\n`), 413, ENDS),
    row('one chunk too big', chunked(`4001\r\n${BIG}a\r\n0\r\n\r\n`), 413, ENDS),
    row('an extension without an end', chunked(`11;${'a'.repeat(20000)}\r\n${LANDING}\r\n0\r\n\r\n`), [400, 413, 431],
        ENDS),
    row('extensions without an end', chunked(`${`1;${'a'.repeat(1000)}\r\nx\r\n`.repeat(40)}0\r\n\r\n`),
        [400, 413, 431], ENDS),
    row('trailers without an end', chunked(`11\r\n${LANDING}\r\n0\r\n${'X: a\r\n'.repeat(5000)}\r\n`), [400, 413, 431],
        ENDS),
    row('a trailer with a blank before the colon', chunked(`11\r\n${LANDING}\r\n0\r\nX : a\r\n\r\n`), 400),
    row('a folded trailer', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\r\n b\r\n\r\n`), 400),
    row('a trailer with a NUL', chunked(`11\r\n${LANDING}\r\n0\r\nX: \0\r\n\r\n`), 400),
    row('a trailer without a colon', chunked(`11\r\n${LANDING}\r\n0\r\nGET / HTTP/1.1\r\n\r\n`), 400),
    row('a trailer with a bare LF', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\nY: b\r\n\r\n`), 400)
];

const typed = (type, content = LANDING) =>
    `POST /join HTTP/1.1\r\n${HOST}${type}Content-Length: ${content.length}\r\n\r\n${content}`;
const contents = [
    row('the type of forms in capitals', typed('Content-Type: APPLICATION/X-WWW-Form-Urlencoded\r\n'), 303),
    row('the type of forms with parameters',
        typed('Content-Type: application/x-www-form-urlencoded ; charset="UTF-8"\r\n'), 303),
    row('no type', typed(''), 415, EITHER),
    row('another type', typed('Content-Type: text/plain\r\n'), 415, EITHER),
    row('JSON', typed('Content-Type: application/json\r\n'), 415, EITHER),
    row('multipart', typed('Content-Type: multipart/form-data; boundary=x\r\n'), 415, EITHER),
    row('nearly the type of forms', typed('Content-Type: application/x-www-form-urlencodedx\r\n'), 415, EITHER),
    row('half the type of forms', typed('Content-Type: application/x-www-form\r\n'), 415, EITHER),
    row('two types, the right one first',
        typed('Content-Type: application/x-www-form-urlencoded\r\nContent-Type: text/plain\r\n'), [400, 415], EITHER),
    row('two types', typed('Content-Type: text/plain\r\nContent-Type: application/x-www-form-urlencoded\r\n'),
        [400, 415], EITHER),
    row('an expectation nobody knows', post('Content-Length: 17\r\nExpect: tea\r\n', LANDING), 417, EITHER),
    row('an expectation too many', post('Content-Length: 17\r\nExpect: 100-continue, tea\r\n', LANDING), 417, EITHER),
    row('an expectation in a second field', post('Content-Length: 17\r\nExpect: 100-continue\r\nExpect: tea\r\n',
        LANDING), 417, EITHER),
    row('an expectation of GET', get('Expect: tea\r\n'), 417, EITHER),
    row('an expectation, sent with its content', post('Content-Length: 17\r\nExpect: 100-Continue\r\n', LANDING), 303),
    row('an expectation in HTTP/1.0, passed over', post('Content-Length: 17\r\nExpect: 100-continue\r\n',
        LANDING).replace('/1.1', '/1.0'), 303, ENDS),
    row('two requests with an empty line between', `${sized('17')}\r\n`, 303)
];

const tables = {
    'a request line is read as RFC 9112 spells it, or refused': requestLines,
    'a version is 1.0 or 1.1, or refused': versions,
    'a target is a path or an absolute address': targets,
    'a field that is not spelt right is refused': fields,
    'there is one Host, and it is one': hosts,
    'a head is 8 KiB at most': sizes,
    'a Content-Length is one plain number': lengths,
    'a Transfer-Encoding is chunked, once and alone': codings,
    'chunks are read to the letter': chunks,
    'a content is a form, and an expectation is kept': contents
};

describe('requests are read strictly', () => {
    for (const [name, rows] of Object.entries(tables))
        test(name, (t) => runRows(t, rows));
});

test('a request split in two anywhere is answered as the whole is', async (t) => {
    const server = await start(t);
    const whole = [
        row('chunked', `\r\n${chunked(`5;a="b"\r\nroom=\r\nC\r\ntea&name=Ann\r\n0\r\nX: a\r\n\r\n`)}`, 303),
        row('with a length', sized('17'), 303),
        row('absolute', get('X: a\r\n', 'http://localhost/healthz?a'), 200),
        row('refused', get('X : a\r\n'), 400)
    ];
    const splits = whole.flatMap((one) => Array.from({ length: one.bytes.length - 1 }, (_, at) => (
        { ...one, name: `${one.name}, split at ${at + 1}`, at: at + 1 })));
    await each(splits, async (one) => {
        const pieces = [one.bytes.subarray(0, one.at), Buffer.concat([one.bytes.subarray(one.at),
            Buffer.from(SECOND)])];
        checkRow(one, await exchange(server, pieces, []));
    });
});

/* ---- connections ---- */

test('a thousand requests in one segment are answered in their order', async (t) => {
    const server = await start(t);
    const kinds = [
        (i) => [requestOf('POST', '/join', { form: { room: `r${i}`, name: 'Ann' } }), 'POST', 303, `/r/r${i}?`],
        () => [requestOf('GET', '/healthz'), 'GET', 200],
        () => [requestOf('HEAD', '/'), 'HEAD', 200],
        () => [requestOf('GET', '/nowhere'), 'GET', 404],
        () => [Buffer.from(chunked(`11\r\n${LANDING}\r\n0\r\n\r\n`)), 'POST', 303, '/r/tea?'],
        () => [requestOf('GET', '/rooms'), 'GET', 200]
    ];
    const asked = Array.from({ length: 1000 }, (_, i) => kinds[i % kinds.length](i));
    const bytes = Buffer.concat([...asked.map(([bytes]) => bytes), Buffer.from(SECOND)]);
    const answers = await raw(server, bytes, { methods: asked.map(([, method]) => method) });
    assert.equal(answers.length, 1001);
    asked.forEach(([, method, status, location], i) => {
        assert.equal(answers[i].status, status, `answer ${i}, to ${method}`);
        if (location)
            assert.ok(answers[i].field('location').startsWith(location), `answer ${i} leads to ${location}`);
    });
});

test('a client that pipelines pages and reads late gets them all', async (t) => {
    const server = await start(t);
    const connection = await Connection.open(server);
    connection.pause();
    for (let i = 0; i < 100; i++)
        connection.write(requestOf('GET', '/'));
    connection.write(Buffer.from(SECOND));
    await request(server, 'GET', '/healthz');
    connection.resume();
    const answers = await connection.answersToEnd();
    assert.equal(answers.length, 101);
    for (const answer of answers.slice(0, 100))
        assert.ok(answer.body.equals(answers[0].body));
});

test('a client that has closed its half is still answered', async (t) => {
    const server = await start(t);
    const one = await raw(server, requestOf('GET', '/healthz'), { half: true });
    assert.deepEqual(one.map((answer) => answer.status), [200]);
    const hundred = Buffer.concat(Array.from({ length: 100 }, () => requestOf('GET', '/')));
    const many = await raw(server, hundred, { half: true });
    assert.deepEqual(many.map((answer) => answer.status), Array(100).fill(200));
});

test('a client that goes in the middle of a request is let go', async (t) => {
    const server = await start(t);
    for (const bytes of ['', 'GET /hea', sized('17', 'room='), chunked('11\r\nroom=')]) {
        const answers = await raw(server, bytes, { half: true });
        assert.ok(answers.length <= 1 && answers.every((answer) => answer.status === 400), JSON.stringify(bytes));
    }
});

test('an HTTP/1.0 client gets one answer, or keeps the connection if it asks to', async (t) => {
    const server = await start(t);
    const one = await raw(server, 'GET /healthz HTTP/1.0\r\n\r\nGET /healthz HTTP/1.0\r\n\r\n');
    assert.deepEqual(one.map((answer) => answer.status), [200]);
    const kept = 'GET /healthz HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n';
    const two = await raw(server, `${kept}${kept}GET /healthz HTTP/1.0\r\n\r\n`);
    assert.deepEqual(two.map((answer) => answer.status), [200, 200, 200]);
    assert.match(two[0].field('connection'), /^keep-alive$/i);
    assert.match(two[2].field('connection') ?? 'close', /^close$/i);
});

test('a content that is expected is asked for, once it is clear that it is wanted', async (t) => {
    const server = await start(t);
    const connection = await Connection.open(server);
    const content = LANDING;
    for (const fields of [{ 'Content-Length': content.length }, { 'Transfer-Encoding': 'chunked' }]) {
        const isChunked = 'Transfer-Encoding' in fields;
        const type = 'application/x-www-form-urlencoded';
        connection.write(requestOf('POST', '/join', { fields: { ...fields, 'Content-Type': type,
            Expect: '100-continue' } }));
        assert.equal((await connection.answer()).status, 100);
        connection.write(isChunked ? `11\r\n${content}\r\n0\r\n\r\n` : content);
        assert.equal((await connection.answer('POST')).status, 303);
    }
    connection.close();
    const refused = [
        [requestOf('POST', '/join', { form: '', length: 99999, fields: { Expect: '100-continue' } }), 413],
        [requestOf('POST', '/nowhere', { form: '', length: 17, fields: { Expect: '100-continue' } }), 404],
        [requestOf('PUT', '/rooms', { form: '', length: 17, fields: { Expect: '100-continue' } }), 405]
    ];
    await each(refused.map(([bytes, status]) => ({ name: `${status}`, bytes, status })), async ({ bytes, status }) => {
        const one = await Connection.open(server);
        one.write(bytes);
        assert.equal((await one.answer()).status, status, 'at once, the content unread');
        one.close();
    });
});

test('a request that is refused before its content is read ends the connection', async (t) => {
    const server = await start(t);
    const hidden = SMUGGLED;
    const rows = [
        ['a content too long', requestOf('POST', '/join', { form: hidden, length: 99999 }), 413],
        ['a content of no form', requestOf('POST', '/join', { form: hidden, fields: { 'Content-Type': 'text/plain' } }),
            415],
        ['nobody', requestOf('POST', '/r/tea/send', { form: hidden }), 401],
        ['nowhere', requestOf('POST', '/nowhere', { form: hidden }), 404],
        ['another method', requestOf('PUT', '/rooms', { form: hidden }), 405],
        ['no method', requestOf('BREW', '/rooms', { form: hidden }), 501],
        ['from another site', requestOf('POST', '/r/tea/join',
            { form: hidden, fields: { Origin: 'http://evil.example' } }), 403],
        ['another host', requestOf('POST', '/join', { form: hidden, host: 'evil.example.com' }), 421],
        ['another spelling', requestOf('POST', '/r/Tea/send', { form: hidden }), 308]
    ].map(([name, bytes, status]) => ({ name, bytes, status }));
    await each(rows, async ({ bytes, status }) => {
        const answers = await raw(server, Buffer.concat([bytes, Buffer.from(SECOND)]));
        const statuses = answers.map((answer) => answer.status);
        assert.ok(`${statuses}` === `${status}` || `${statuses}` === `${status},200`,
            `${statuses}: the content of a refused request must not be taken for a request`);
    });
});

test('what a client is refused for reaches it, however much it goes on sending', async (t) => {
    const server = await start(t);
    for (const bytes of [sized('9999999', 'a'.repeat(2000000)), get('X : a\r\n') + 'a'.repeat(2000000)]) {
        const connection = await Connection.open(server);
        connection.write(bytes);
        assert.ok([400, 413].includes((await connection.answer()).status));
        connection.close();
    }
});

test('HEAD is answered as GET is, without the content', async (t) => {
    const server = await start(t);
    for (const target of ['/', '/r/tea', '/rooms', '/healthz', '/nowhere', '/r/Tea', '/r/tea/events', '/r/tea/messages',
        '/join']) {
        const got = await request(server, 'GET', target);
        const head = await request(server, 'HEAD', target);
        assert.equal(head.status, got.status, target);
        const without = (answer) => answer.fields.filter(([name]) => name !== 'date');
        assert.deepEqual(without(head), without(got), target);
    }
});

test('a request behind one that waits is answered after it', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const bytes = [
        requestOf('GET', '/r/tea/messages?wait=1', { cookie: ann.cookie }),
        requestOf('GET', '/healthz'),
        requestOf('GET', '/r/tea/messages?wait=1', { cookie: ann.cookie }),
        Buffer.from(SECOND)
    ];
    const answers = await raw(server, Buffer.concat(bytes));
    assert.deepEqual(answers.map((answer) => answer.text), ['[]', 'ok\n', '[]', 'ok\n']);
});

test('bytes behind the request for a stream do it no harm', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const reader = await subscriber(ann);
    reader.connection.write(Buffer.alloc(300000, 'GET / HTTP/1.1\r\n'));
    await reader.people('Ann');
});
