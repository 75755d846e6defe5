/* wire_syntax.mjs: how strictly requests are read (the contract, section 5; RFC 9112). Every row runs whole, then a byte
 * at a time. A second request follows each row in the same piece: it must be answered where the connection goes on,
 * and never where the first was refused, for then nobody can say where it begins. */
import { describe, test } from 'node:test';
import { Connection, assert, each, join, raw, request, requestOf, start, subscriber } from './wire.mjs';

const HOST = 'Host: localhost\r\n';
const FORM = 'Content-Type: application/x-www-form-urlencoded\r\n';
const LANDING = 'room=tea&name=Ann'; /* 17 bytes, 11 in hex: to /join, which changes nothing and answers 303 */
const SECOND = `GET /healthz HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

const line = (text, fields = '') => `${text}\r\n${HOST}${fields}\r\n`; /* a head with that request line */
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
        assert.equal(`${second.status} ${second.text}`, '200 ok\n', 'what follows was taken for something else');
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
    row('a lower-case method', `get /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, ENDS),
    row('a method nobody knows', `BREW /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, ENDS),
    row('a method one letter longer', `GETS /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, ENDS),
    row('a method one letter shorter', `GE /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, ENDS),
    row('a long method', `${'A'.repeat(200)} /healthz HTTP/1.1\r\n${HOST}\r\n`, 501, ENDS),
    row('a method that is no token', `G(T /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a colon in the method', `GET: /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('no method', ` /healthz HTTP/1.1\r\n${HOST}\r\n`, 400),
    row('a TLS greeting', `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 \r\n\r\n`, 400),
    row('an empty line first', `\r\n${get()}`, 200),
    row('a bare LF first', `\n${get()}`, 400),
    row('a bare CR first', `\r${get()}`, 400),
    row('a tab before the version', line('GET /healthz\tHTTP/1.1'), 400),
    row('a tab after the version', line('GET /healthz HTTP/1.1\t'), 400),
    row('a tab beside the blank', line('GET \t/healthz HTTP/1.1'), 400),
    row('a form feed for a blank', line('GET /healthz\x0cHTTP/1.1'), 400),
    row('a no-break space for a blank', line('GET\xa0/healthz HTTP/1.1'), 400),
    row('a bare CR for the first blank', line('GET\r/healthz HTTP/1.1'), 400),
    row('bare CRs throughout', 'GET /healthz HTTP/1.1\rHost: localhost\r\r', 400),
    row('LF and CR for CRLF', `GET /healthz HTTP/1.1\n\r${HOST}\r\n`, 400),
    row('a line separator of Unicode for CRLF', `GET /healthz HTTP/1.1\xe2\x80\xa8${HOST}\r\n`, 400),
    row('a folded request line', line('GET /healthz\r\n HTTP/1.1'), 400),
    row('two request lines', line('GET /healthz HTTP/1.1\r\nGET /rooms HTTP/1.1'), 400),
    row('a request line in HTTP/0.9', 'GET /healthz\r\n\r\n', 400),
    row('a method alone', 'GET\r\n\r\n', 400),
    row('an answer for a request', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', 400),
    row('a field for a request line', `${HOST}\r\n`, 400),
    row('a NUL first', `\0${get()}`, 400),
    row('a NUL after the version', line('GET /healthz HTTP/1.1\0'), 400),
    row('a byte order mark first', `\xef\xbb\xbf${get()}`, 400),
    row('a method in quotes', line('"GET" /healthz HTTP/1.1'), 400),
    row('a slash in the method', line('GET/ /healthz HTTP/1.1'), 400),
    row('a method of two letters and a comma', line('GET, /healthz HTTP/1.1'), 400),
    row('a method of Latin-1', line('G\xc9T /healthz HTTP/1.1'), 400),
    row('three empty lines first', `\r\n\r\n\r\n${get()}`, 200),
    row('a line of a blank first', ` \r\n${get()}`, 400),
    row('a CR too many in an empty line first', `\r\r\n${get()}`, 400),
    row('a bare LF after an empty line first', `\r\n\n${get()}`, 400),
    row('a bare CR after an empty line first', `\r\n\r${get()}`, 400),
    row('an asterisk for POST', line('POST * HTTP/1.1'), 400),
    row('an asterisk and a query for OPTIONS', line('OPTIONS *?x HTTP/1.1'), 400),
    row('an asterisk behind a slash for OPTIONS', line('OPTIONS /* HTTP/1.1'), 404),
    row('an authority for GET', line('GET localhost:80 HTTP/1.1'), 400),
    row('CONNECT without a port', line('CONNECT localhost HTTP/1.1'), 400),
    row('CONNECT with an empty port', line('CONNECT localhost: HTTP/1.1'), 400),
    row('CONNECT with a port alone', line('CONNECT :80 HTTP/1.1'), 400),
    row('CONNECT with a letter in the port', line('CONNECT localhost:80x HTTP/1.1'), 400),
    row('CONNECT with a user', line('CONNECT ann@localhost:80 HTTP/1.1'), 400),
    row('CONNECT in absolute form', line('CONNECT http://localhost:80/ HTTP/1.1'), 400),
    row('CONNECT with an asterisk', line('CONNECT *:80 HTTP/1.1'), [400, 405, 421], EITHER)
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
    row('another name', `GET /healthz HTCPCP/1.0\r\n${HOST}\r\n`, 400),
    row('HTTP/1.9, to be taken as 1.1', line('GET /healthz HTTP/1.9'), 200),
    row('HTTP/3.0', line('GET /healthz HTTP/3.0'), 505, ENDS),
    row('HTTP/9.9', line('GET /healthz HTTP/9.9'), 505, ENDS),
    row('HTTP/0.0', line('GET /healthz HTTP/0.0'), 505, ENDS),
    row('HTTP/2.0 with a content', sized('17').replace('/1.1', '/2.0'), 505, ENDS),
    row('HTTP/2.0 with a length and a coding', post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n')
        .replace('/1.1', '/2.0'), [400, 505], ENDS),
    row('no major', line('GET /healthz HTTP/.1'), 400),
    row('a dot and no minor', line('GET /healthz HTTP/1.'), 400),
    row('three numbers', line('GET /healthz HTTP/1.1.1'), 400),
    row('a comma', line('GET /healthz HTTP/1,1'), 400),
    row('a comma behind', line('GET /healthz HTTP/1.1,'), 400),
    row('a plus', line('GET /healthz HTTP/+1.1'), 400),
    row('a minus', line('GET /healthz HTTP/1.-1'), 400),
    row('a blank before the number', line('GET /healthz HTTP/ 1.1'), 400),
    row('a blank before the slash', line('GET /healthz HTTP /1.1'), 400),
    row('a blank before the dot', line('GET /healthz HTTP/1 .1'), 400),
    row('a blank before the minor', line('GET /healthz HTTP/1. 1'), 400),
    row('no slash', line('GET /healthz HTTP1.1'), 400),
    row('a backslash', line('GET /healthz HTTP\\1.1'), 400),
    row('two slashes', line('GET /healthz HTTP//1.1'), 400),
    row('a name in part in lower case', line('GET /healthz Http/1.1'), 400),
    row('HTTPS', line('GET /healthz HTTPS/1.1'), 400),
    row('RTSP', line('GET /healthz RTSP/1.0'), 400),
    row('a superscript', line('GET /healthz HTTP/1.\xb9'), 400),
    row('digits of another script', line('GET /healthz HTTP/\xef\xbc\x91.\xef\xbc\x91'), 400),
    row('a rest like another version', line('GET /healthz HTTP/1.1HTTP/1.0'), 400),
    row('two versions', line('GET /healthz HTTP/1.1 HTTP/1.1'), 400)
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
    row('an escape that is none', get('', '/r/%zz'), 400),
    row('half an escape', get('', '/r/tea%2'), 400),
    row('a query', get('', '/healthz?a=b&c'), 200),
    row('an empty query', get('', '/healthz?'), 200),
    row('two question marks', get('', '/healthz??'), 200),
    row('absolute form with a port', get('', 'http://localhost:8080/healthz'), 200),
    row('absolute form with an empty port', get('', 'http://localhost:/healthz'), 200),
    row('absolute form with an IPv6 address', get('', 'http://[::1]:8080/healthz'), 200),
    row('absolute form in HTTP/1.0', get('', 'http://localhost/healthz').replace('/1.1', '/1.0'), 200, ENDS),
    row('absolute form with a letter in the port', get('', 'http://localhost:80x/healthz'), 400),
    row('absolute form with two ports', get('', 'http://localhost:80:80/healthz'), 400),
    row('absolute form with half a bracket', get('', 'http://[::1/healthz'), 400),
    row('absolute form with a backslash', get('', 'http://localhost\\@evil.example.com/healthz'), 400),
    row('absolute form with an escaped slash and a user', get('', 'http://evil.example.com%2f@localhost/healthz'), 400),
    row('absolute form with a fragment', get('', 'http://localhost#/healthz'), 400),
    row('absolute form with a query and no host', get('', 'http://?/healthz'), 400),
    row('absolute form with a broken Host', `GET http://localhost/healthz HTTP/1.1\r\nHost: a b\r\n\r\n`, 400),
    row('absolute form with an empty Host', `GET http://localhost/healthz HTTP/1.1\r\nHost:\r\n\r\n`, 400),
    row('absolute form with two Hosts', `GET http://localhost/healthz HTTP/1.1\r\n${HOST}${HOST}\r\n`, 400),
    row('absolute form of https, which this is not', get('', 'https://localhost/healthz'), [400, 421], EITHER),
    row('absolute form of ftp', get('', 'ftp://localhost/healthz'), 400),
    row('absolute form of ws', get('', 'ws://localhost/healthz'), 400),
    row('absolute form of a file', get('', 'file:///healthz'), 400),
    row('a scheme without its slashes', get('', 'http:localhost/healthz'), 400),
    row('a scheme with backslashes', get('', 'http:\\\\localhost\\healthz'), 400),
    row('a script', get('', 'javascript:alert(1)'), 400),
    row('a query for a target', get('', '?healthz'), 400),
    row('a backslash for the slash', get('', '\\healthz'), 400),
    row('dots for a target', get('', '../healthz'), 400),
    row('two slashes: no authority', get('', '//evil.example.com/healthz'), 404),
    row('dots in a path: no way up', get('', '/rooms/../healthz'), 404),
    row('an escaped slash: no slash', get('', '/rooms%2f..%2fhealthz'), 404),
    row('an escaped NUL', get('', '/healthz%00'), 404),
    row('an escaped NUL in a room', get('', '/r/tea%00'), 404),
    row('an escaped CRLF', get('', '/healthz%0d%0aX:%20y'), 404),
    row('an escaped CRLF in a room', get('', '/r/tea%0d%0aSet-Cookie:%20a=b'), 404),
    row('an escaped CRLF in the query of a redirection', get('', '/r/Tea?%0d%0aSet-Cookie:%20a=b'), 308),
    row('a broken escape in the query', get('', '/healthz?%4'), 400),
    row('a broken escape in the query of an absolute form', get('', 'http://localhost/healthz?%g0'), 400),
    row('a fragment in the query', get('', '/healthz?a#b'), 400),
    row('raw UTF-8 in the query', get('', '/healthz?caf\xc3\xa9'), 400),
    row('a NUL in the query', get('', '/healthz?\0'), 400),
    row('an address behind a tab', get('', '/healthz\thttp://evil.example.com/'), 400)
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
    row('closed is not close', get('Connection: closed\r\n'), 200),
    ...[...'"(),/;<=>?@[\\]{}'].map((c) => row(`${c} in the name`, get(`X${c}: a\r\n`), 400)),
    row('a NUL before the name', get('\0X: a\r\n'), 400),
    row('a colon alone', get(':\r\n'), 400),
    row('a CR before the colon', get('X\r: a\r\n'), 400),
    row('a LF before the colon', get('X\n: a\r\n'), 400),
    row('a CRLF before the colon', get('X\r\n: a\r\n'), 400),
    row('a vertical tab before the colon', get('X\x0b: a\r\n'), 400),
    row('a no-break space before the colon', get('X\xa0: a\r\n'), 400),
    row('a colon of another script', get('X\xef\xbc\x9a a\r\n'), 400),
    row('a vertical tab before the value', get('X:\x0ba\r\n'), 400),
    row('a form feed in the value', get('X: a\x0cb\r\n'), 400),
    row('an escape character in the value', get('X: \x1b[31m\r\n'), 400),
    row('a value of blanks', get('X: \t \r\n'), 200),
    row('a colon in the value', get('X: a:b: c\r\n'), 200),
    row('UTF-8 in a value', get('X: caf\xc3\xa9\r\n'), 200),
    row('a thousand blanks before a value', get(`X:${' '.repeat(1000)}a\r\n`), 200),
    row('a name of a thousand letters', get(`${'X'.repeat(1000)}: a\r\n`), 200),
    row('LF and CR for CRLF', get('X: a\n\rY: b\r\n'), 400),
    row('a bare LF before the last line', get('X: a\n'), 400),
    row('two bare LFs for the end of the head', `GET /healthz HTTP/1.1\r\n${HOST}X: a\n\n`, 400),
    row('CRLF and a bare LF for the end of the head', `GET /healthz HTTP/1.1\r\n${HOST}X: a\r\n\n`, 400),
    row('CRLF and a bare CR for the end of the head', `GET /healthz HTTP/1.1\r\n${HOST}X: a\r\n\r`, 400),
    row('a request hidden behind bare LFs', get(`X: a\n\nGET /rooms HTTP/1.1\n${HOST}\n`), 400),
    row('a request hidden behind bare CRs', get(`X: a\r\rGET /rooms HTTP/1.1\r${HOST}`), 400),
    row('a request hidden behind CR, NUL, LF', get(`X: a\r\0\nGET /rooms HTTP/1.1\r\n${HOST}`), 400),
    row('a request line among the fields', get('GET /rooms HTTP/1.1\r\n'), 400),
    row('a field folded away', get('X: a\r\n Y: b\r\n'), 400),
    row('a folded line of a tab', get('X: a\r\n\t\r\n'), 400),
    row('a folded last line', `GET /healthz HTTP/1.1\r\n${HOST}X: a\r\n \r\n`, 400),
    row('a tab before the first field', `GET /healthz HTTP/1.1\r\n\t${HOST}\r\n`, 400),
    row('a blank field before the first', `GET /healthz HTTP/1.1\r\n X: a\r\n${HOST}\r\n`, 400)
];

const withHost = (lines) => `GET /healthz HTTP/1.1\r\n${lines}\r\n`;
const hosts = [
    row('none', withHost(''), 400),
    row('none, with fields', withHost('X: a\r\n'), 400),
    row('twice the same', withHost(HOST + HOST), 400),
    row('two', withHost(`${HOST}host: 127.0.0.1\r\n`), 400),
    row('empty', withHost('Host:\r\n'), 400),
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
    row('two in HTTP/1.0', `GET /healthz HTTP/1.0\r\n${HOST}${HOST}\r\n`, 400),
    row('in capitals, with a dot behind', withHost('HOST: LOCALHOST.\r\n'), 200),
    row('an address', withHost('Host: 127.0.0.1:80\r\n'), 200),
    row('an address in brackets', withHost('Host: [::1]:80\r\n'), 200),
    row('blanks around', withHost('Host: \t localhost \t\r\n'), 200),
    row('no blank before', withHost('Host:localhost\r\n'), 200),
    row('another, forwarded', withHost(`${HOST}X-Forwarded-Host: evil.example.com\r\n`), 200),
    row('one that is not ours', withHost('Host: evil.example.com\r\n'), 421),
    row('one that begins like ours', withHost('Host: localhost.evil.example.com\r\n'), 421),
    row('one with an escaped dot', withHost('Host: evil%2eexample%2ecom\r\n'), 421),
    row('two in one, without a blank', withHost('Host: localhost,localhost\r\n'), [400, 421], EITHER),
    row('two in one, with a semicolon', withHost('Host: localhost;localhost\r\n'), [400, 421], EITHER),
    row('a comma behind', withHost('Host: localhost,\r\n'), [400, 421], EITHER),
    row('a user and a password', withHost('Host: ann:secret@localhost\r\n'), 400),
    row('a hash', withHost('Host: localhost#\r\n'), 400),
    row('a backslash', withHost('Host: localhost\\evil\r\n'), 400),
    row('in quotes', withHost('Host: "localhost"\r\n'), 400),
    row('in angles', withHost('Host: <localhost>\r\n'), 400),
    row('a NUL', withHost('Host: localhost\0.evil.example.com\r\n'), 400),
    row('a bare CR', withHost('Host: localhost\rX: a\r\n'), 400),
    row('a tab inside', withHost('Host: local\thost\r\n'), 400),
    row('a no-break space behind', withHost('Host: localhost\xa0\r\n'), 400),
    row('a port alone', withHost('Host: :80\r\n'), 400),
    row('a plus before the port', withHost('Host: localhost:+80\r\n'), 400),
    row('a minus before the port', withHost('Host: localhost:-80\r\n'), 400),
    row('a blank before the port', withHost('Host: localhost: 80\r\n'), 400),
    row('a blank behind the name', withHost('Host: localhost :80\r\n'), 400),
    row('half an escape', withHost('Host: localhost%2\r\n'), 400),
    row('an escape that is none', withHost('Host: localhost%zz\r\n'), 400),
    row('an IPv6 address without brackets', withHost('Host: ::1\r\n'), 400),
    row('an IPv6 address and its zone', withHost('Host: [fe80::1%25eth0]\r\n'), 400),
    row('a letter in brackets', withHost('Host: [::g]\r\n'), 400),
    row('a bracket inside', withHost('Host: local[host\r\n'), 400),
    row('two pairs of brackets', withHost('Host: [::1][::1]\r\n'), 400),
    row('a number in brackets', withHost('Host: [1]\r\n'), [400, 421], EITHER),
    row('dots in brackets', withHost('Host: [...]\r\n'), [400, 421], EITHER),
    row('colons in brackets', withHost('Host: [:::::::::]\r\n'), [400, 421], EITHER),
    row('an IPv4 address in brackets', withHost('Host: [127.0.0.1]\r\n'), [400, 421], EITHER),
    row('too many groups in brackets', withHost('Host: [1:2:3:4:5:6:7:8:9]\r\n'), [400, 421], EITHER),
    row('a blank before the colon', withHost('Host : localhost\r\n'), 400),
    row('a second one, a blank before its colon', withHost(`${HOST}Host : evil.example.com\r\n`), 400),
    row('a second one, folded', withHost(`${HOST} Host: evil.example.com\r\n`), 400),
    row('a second one, empty', withHost(`${HOST}Host:\r\n`), 400),
    row('a second one behind a bare CR', withHost(`X: a\rHost: evil.example.com\r\n${HOST}`), 400),
    row('broken in HTTP/1.0', 'GET /healthz HTTP/1.0\r\nHost: a b\r\n\r\n', 400),
    row('empty in HTTP/1.0', 'GET /healthz HTTP/1.0\r\nHost:\r\n\r\n', 400)
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
    row('a field name longer than a head', get(`${'a'.repeat(9000)}: x\r\n`), 431, ENDS),
    row('a method longer than a head', `${'A'.repeat(9000)} /healthz HTTP/1.1\r\n${HOST}\r\n`, [400, 414, 431, 501],
        ENDS),
    row('a version longer than a head', line(`GET /healthz HTTP/1.1${'1'.repeat(9000)}`), [400, 414], ENDS),
    row('a field that begins in a head and ends beyond',
        get(`X: ${'a'.repeat(8180)}\r\nTransfer-Encoding: chunked\r\n`), 431,
        ENDS),
    row('a coding as the hundred and first field', post(`${'X: a\r\n'.repeat(98)}Transfer-Encoding: chunked\r\n`,
        '0\r\n\r\n'), 431, ENDS),
    row('a length as the hundred and first field', post(`${'X: a\r\n'.repeat(98)}Content-Length: 17\r\n`, LANDING), 431,
        ENDS),
    row('a broken field as the hundred and first', get(`${'X: a\r\n'.repeat(99)}X : a\r\n`), 400)
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
    row('a request in the content of GET', get(`Content-Length: ${SMUGGLED.length}\r\n`) + SMUGGLED, 200),
    row('a request in the content of POST', post(`Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED), 400, EITHER),
    row('no blank before', post('Content-Length:17\r\n', LANDING), 303),
    row('blanks and tabs around', post('Content-Length: \t 17 \t\r\n', LANDING), 303),
    row('zeros in front: no octal', sized('0017'), 303),
    row('that Connection names', post('Connection: Content-Length\r\nContent-Length: 17\r\n', LANDING), 303),
    row('an underscore: another field', post('Content_Length: 4\r\nContent-Length: 17\r\n', LANDING), 303),
    row('an X in front: another field', post('X-Content-Length: 4\r\nContent-Length: 17\r\n', LANDING), 303),
    row('minus zero', sized('-0', ''), 400),
    row('plus zero', sized('+0', ''), 400),
    row('an underscore inside', sized('1_7'), 400),
    row('octal', sized('0o21'), 400),
    row('binary', sized('0b10001'), 400),
    row('hexadecimal without its 0x', sized('11h'), 400),
    row('a semicolon', sized('17;'), 400),
    row('a parameter', sized('17; q=1'), 400),
    row('apostrophes', sized('\'17\''), 400),
    row('brackets', sized('(17)'), 400),
    row('a comma in front', sized(',17'), 400),
    row('a comma for a dot', sized('17,0'), 400),
    row('a list of two the same, without a blank', sized('17,17'), 400),
    row('a list of three', sized('17, 17, 17'), 400),
    row('a tab inside', sized('1\t7'), 400),
    row('a form feed in front', sized('\x0c17'), 400),
    row('a NUL behind', sized('17\0'), 400),
    row('a NUL in front', sized('\x0017'), 400),
    row('a bare CR behind', sized('17\r'), 400),
    row('a bare LF in front', sized('\n17'), 400),
    row('a no-break space behind', sized('17\xa0'), 400),
    row('digits of another script', sized('\xef\xbc\x91\xef\xbc\x97'), 400),
    row('Arabic digits', sized('\xd9\xa1\xd9\xa7'), 400),
    row('a superscript', sized('17\xb9'), 400),
    row('infinity', sized('inf'), 400),
    row('a dash', sized('\xe2\x88\x9217'), 400),
    row('just over 64 bits', sized('18446744073709551616'), [400, 413], ENDS),
    row('the most of 64 bits', sized('18446744073709551615'), [400, 413], ENDS),
    row('the most of 63 bits', sized('9223372036854775807'), [400, 413], ENDS),
    row('zero and another', post('Content-Length: 0\r\nContent-Length: 17\r\n', LANDING), 400),
    row('another and zero', post('Content-Length: 17\r\nContent-Length: 0\r\n', LANDING), 400),
    row('one and an empty one', post('Content-Length: 17\r\nContent-Length:\r\n', LANDING), 400),
    row('an empty one and one', post('Content-Length:\r\nContent-Length: 17\r\n', LANDING), 400),
    row('twice the same in two spellings', post('Content-Length: 17\r\nContent-Length: 017\r\n', LANDING), 400),
    row('twice, in capitals once', post('content-length: 17\r\nCONTENT-LENGTH: 17\r\n', LANDING), 400),
    row('twice, a field between', post('Content-Length: 17\r\nX: a\r\nContent-Length: 4\r\n', LANDING), 400),
    row('a second one, a blank before its colon', post('Content-Length: 17\r\nContent-Length : 4\r\n', LANDING), 400),
    row('a second one, a NUL before its colon', post('Content-Length: 17\r\nContent-Length\0: 4\r\n', LANDING), 400),
    row('a second one, folded', post('Content-Length: 17\r\n Content-Length: 4\r\n', LANDING), 400),
    row('a second one behind a bare CR', post('X: a\rContent-Length: 4\r\nContent-Length: 17\r\n', LANDING), 400),
    row('a second one behind a bare LF', post('X: a\nContent-Length: 4\r\nContent-Length: 17\r\n', LANDING), 400),
    row('a tab before the colon', post('Content-Length\t: 17\r\n', LANDING), 400),
    row('a blank for the hyphen', post('Content Length: 17\r\n', LANDING), 400),
    row('before the first field, folded', `POST /join HTTP/1.1\r\n Content-Length: 17\r\n${HOST}${FORM}\r\n${LANDING}`,
        400),
    row('a letter, of GET', get('Content-Length: x\r\n'), 400),
    row('a minus, of GET', get('Content-Length: -1\r\n'), 400),
    row('zero, of GET', get('Content-Length: 0\r\n'), 200),
    row('two, of HEAD', get('Content-Length: 0\r\nContent-Length: 0\r\n').replace('GET', 'HEAD'), 400),
    row('two, of a method nobody knows', line('BREW /healthz HTTP/1.1',
        'Content-Length: 4\r\nContent-Length: 5\r\n'), [400, 501], ENDS),
    row('too much, of GET', get('Content-Length: 99999\r\n'), 413, ENDS),
    row('a content of HEAD', get(`Content-Length: ${SMUGGLED.length}\r\n`).replace('GET', 'HEAD') + SMUGGLED, 200),
    ...['/', '/r/tea', '/rooms'].map((target) => row(`a request in the content of GET ${target}`,
        get(`Content-Length: ${SMUGGLED.length}\r\n`, target) + SMUGGLED, 200)),
    ...[['/nowhere', 404], ['/r/Tea', 308], ['/r/tea/events', 401], ['/r/tea/messages', 401], ['/join', 405]].map(
        ([target, status]) => row(`a request in the content of GET ${target}`,
            get(`Content-Length: ${SMUGGLED.length}\r\n`, target) + SMUGGLED, status, EITHER)),
    ...[['OPTIONS', '*'], ['TRACE', '/'], ['DELETE', '/rooms'], ['PUT', '/r/tea'], ['PATCH', '/']].map(
        ([method, target]) => row(`a request in the content of ${method}`, line(`${method} ${target} HTTP/1.1`,
            `Content-Length: ${SMUGGLED.length}\r\n`) + SMUGGLED, 405, ENDS))
];

const coded = (coding, content = `11\r\n${LANDING}\r\n0\r\n\r\n`) => post(`Transfer-Encoding: ${coding}\r\n`, content);
const codings = [
    row('chunked', coded('chunked'), 303),
    row('chunked in capitals', coded('Chunked'), 303),
    row('chunked after an empty element', coded(', chunked'), [400, 501], ENDS),
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
    row('in HTTP/1.0', coded('chunked').replace('HTTP/1.1', 'HTTP/1.0'), 400),
    row('in HTTP/1.2', coded('chunked').replace('HTTP/1.1', 'HTTP/1.2'), 303),
    row('of GET', get('Transfer-Encoding: chunked\r\n') + '0\r\n\r\n', 200),
    row('of GET, with a request in it', `${get('Transfer-Encoding: chunked\r\n')}${SMUGGLED.length.toString(16)}\r\n${
        SMUGGLED}\r\n0\r\n\r\n`, 200),
    row('of OPTIONS, with a request in it', line('OPTIONS * HTTP/1.1', 'Transfer-Encoding: chunked\r\n') +
        `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`, 405, ENDS),
    row('of what is nowhere, with a request behind', get('Transfer-Encoding: chunked\r\n', '/nowhere') +
        `0\r\n\r\n${SMUGGLED}`, 404, ENDS),
    row('of a method nobody knows, with a length', line('BREW /healthz HTTP/1.1',
        'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n') + '0\r\n\r\n', 400),
    row('that Connection names', post('Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n',
        `11\r\n${LANDING}\r\n0\r\n\r\n`), 303),
    row('CL.TE, a request behind the last chunk', post(`Content-Length: ${SMUGGLED.length + 5}\r\n` +
        'Transfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`), 400),
    row('TE.CL, a request in a chunk', post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
        `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`), 400),
    row('a length of zero, and chunked', post('Content-Length: 0\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400),
    row('a broken length, and chunked', post('Content-Length: x\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400),
    row('two lengths, and chunked', post('Content-Length: 4\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n',
        '0\r\n\r\n'), 400),
    row('with a length, in HTTP/1.0', post('Content-Length: 17\r\nTransfer-Encoding: chunked\r\n', LANDING)
        .replace('/1.1', '/1.0'), 400),
    row('with a length and keep-alive, in HTTP/1.0', post('Connection: keep-alive\r\nContent-Length: 17\r\n' +
        'Transfer-Encoding: identity\r\n', LANDING).replace('/1.1', '/1.0'), 400),
    row('a coding of the content', post('Content-Encoding: chunked\r\nContent-Length: 17\r\n', LANDING), 415, ENDS)
];

/* Spellings of the one field that is right: alone it is taken, beside a length never. */
const spellings = [
    ['no blank before the value', 'Transfer-Encoding:chunked'],
    ['a tab before the value', 'Transfer-Encoding:\tchunked'],
    ['blanks and tabs around the value', 'Transfer-Encoding:  \t chunked \t '],
    ['letters of either case', 'tRANSFER-eNCODING: cHuNkEd']
];
const spelled = spellings.flatMap(([name, field]) => [
    row(name, post(`${field}\r\n`, `11\r\n${LANDING}\r\n0\r\n\r\n`), 303),
    row(`${name}, and a length before`, post(`Content-Length: 17\r\n${field}\r\n`, `0\r\n\r\n${SMUGGLED}`), 400),
    row(`${name}, and a length behind`, post(`${field}\r\nContent-Length: 4\r\n`, `11\r\n${LANDING}\r\n0\r\n\r\n`), 400)
]);

/* What some parser somewhere has taken for it, or has failed to. With a length or without: refused. */
const disguises = [
    ['a tab before the colon', 'Transfer-Encoding\t: chunked'],
    ['a NUL before the colon', 'Transfer-Encoding\0: chunked'],
    ['a vertical tab before the colon', 'Transfer-Encoding\x0b: chunked'],
    ['a CR before the colon', 'Transfer-Encoding\r: chunked'],
    ['a CRLF before the colon', 'Transfer-Encoding\r\n: chunked'],
    ['a colon of another script', 'Transfer-Encoding\xef\xbc\x9a chunked'],
    ['two colons', 'Transfer-Encoding:: chunked'],
    ['a blank for the hyphen', 'Transfer Encoding: chunked'],
    ['a backslash for the hyphen', 'Transfer\\Encoding: chunked'],
    ['a CR in the name', 'Transfer\r-Encoding: chunked'],
    ['a word before the name', 'X Transfer-Encoding: chunked'],
    ['a word behind the name', 'Transfer-Encoding X: chunked'],
    ['a blank before the name', ' Transfer-Encoding: chunked'],
    ['a tab before the name', '\tTransfer-Encoding: chunked'],
    ['a NUL before the name', '\0Transfer-Encoding: chunked'],
    ['Latin-1 in the name', 'Transf\xe9r-Encoding: chunked'],
    ['a long s in the name', 'Tran\xc5\xbffer-Encoding: chunked'],
    ['hidden behind a bare CR', 'X: a\rTransfer-Encoding: chunked'],
    ['hidden behind two bare CRs', 'X: a\r\rTransfer-Encoding: chunked'],
    ['hidden behind a bare LF', 'X: a\nTransfer-Encoding: chunked'],
    ['hidden behind LF and CR', 'X: a\n\rTransfer-Encoding: chunked'],
    ['hidden behind CR, NUL, LF', 'X: a\r\0\nTransfer-Encoding: chunked'],
    ['hidden in a folded line', 'X: a\r\n Transfer-Encoding: chunked'],
    ['folded by a bare LF', 'Transfer-Encoding:\n chunked'],
    ['folded by a bare CR', 'Transfer-Encoding:\r chunked'],
    ['folded by a tab', 'Transfer-Encoding:\r\n\tchunked'],
    ['folded behind', 'Transfer-Encoding: chunked\r\n , identity'],
    ['folded blank', 'Transfer-Encoding: chunked\r\n '],
    ['a vertical tab before the value', 'Transfer-Encoding:\x0bchunked'],
    ['a form feed before the value', 'Transfer-Encoding:\x0cchunked'],
    ['a NUL before the value', 'Transfer-Encoding: \0chunked'],
    ['a NUL behind the value', 'Transfer-Encoding: chunked\0'],
    ['a NUL in the value', 'Transfer-Encoding: chun\0ked'],
    ['a bare CR before the value', 'Transfer-Encoding: \rchunked'],
    ['a bare CR behind the value', 'Transfer-Encoding: chunked\r'],
    ['a no-break space before the value', 'Transfer-Encoding: \xa0chunked'],
    ['a no-break space behind the value', 'Transfer-Encoding: chunked\xa0'],
    ['a next line before the value', 'Transfer-Encoding: \x85chunked'],
    ['all bits before the value', 'Transfer-Encoding: \xffchunked'],
    ['Latin-1 in the value', 'Transfer-Encoding: ch\xfanked'],
    ['a Kelvin sign in the value', 'Transfer-Encoding: chun\xe2\x84\xaaed'],
    ['a wide letter in the value', 'Transfer-Encoding: \xef\xbd\x83hunked'],
    ['an escape in the value', 'Transfer-Encoding: %63hunked'],
    ['apostrophes', 'Transfer-Encoding: \'chunked\''],
    ['brackets', 'Transfer-Encoding: [chunked]'],
    ['a comment', 'Transfer-Encoding: chunked (yes)'],
    ['a semicolon', 'Transfer-Encoding: chunked;'],
    ['a comma behind', 'Transfer-Encoding: chunked,'],
    ['commas around', 'Transfer-Encoding: ,chunked,'],
    ['a comma alone', 'Transfer-Encoding: ,'],
    ['an equals sign', 'Transfer-Encoding: =chunked'],
    ['a dot', 'Transfer-Encoding: chunked.'],
    ['half of it', 'Transfer-Encoding: chunk'],
    ['two words', 'Transfer-Encoding: chunked chunked'],
    ['a word before', 'Transfer-Encoding: cow chunked'],
    ['words around', 'Transfer-Encoding: cow chunked bar'],
    ['x-chunked', 'Transfer-Encoding: x-chunked'],
    ['cow, then chunked', 'Transfer-Encoding: cow, chunked'],
    ['chunked, then cow', 'Transfer-Encoding: chunked, cow'],
    ['identity, then chunked', 'Transfer-Encoding: identity, chunked'],
    ['chunked, identity, chunked', 'Transfer-Encoding: chunked, identity, chunked'],
    ['chunked with a parameter in the list', 'Transfer-Encoding: gzip, chunked;q=1'],
    ['deflate', 'Transfer-Encoding: deflate'],
    ['compress', 'Transfer-Encoding: compress'],
    ['a number', 'Transfer-Encoding: 17'],
    ['chunked and cow in two fields', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: cow'],
    ['cow and chunked in two fields', 'Transfer-Encoding: cow\r\nTransfer-Encoding: chunked'],
    ['chunked and identity in two fields', 'Transfer-Encoding: chunked\r\nTransfer-encoding: identity'],
    ['chunked and nothing in two fields', 'Transfer-Encoding: chunked\r\nTransfer-Encoding:'],
    ['nothing and chunked in two fields', 'Transfer-Encoding:\r\nTransfer-Encoding: chunked'],
    ['a right one and a disguised one', 'Transfer-Encoding: chunked\r\nTransfer-Encoding : identity'],
    ['a disguised one and a right one', 'Transfer-Encoding\x0b: identity\r\nTransfer-Encoding: chunked']
];
const disguised = disguises.flatMap(([name, field]) => [
    row(name, post(`${field}\r\n`, `11\r\n${LANDING}\r\n0\r\n\r\n`), [400, 501], ENDS),
    row(`${name}, and a length before`, post(`Content-Length: 5\r\n${field}\r\n`, `0\r\n\r\n${SMUGGLED}`), [400, 501],
        ENDS),
    row(`${name}, and a length behind`, post(`${field}\r\nContent-Length: 4\r\n`,
        `${SMUGGLED.length.toString(16)}\r\n${SMUGGLED}\r\n0\r\n\r\n`), [400, 501], ENDS)
]);

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
    row('a blank before an extension', chunked(`11 ;a\r\n${LANDING}\r\n0\r\n\r\n`), 400),
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
    row('a thousand zeros in front', chunked(`${'0'.repeat(1000)}11\r\n${LANDING}\r\n0\r\n\r\n`), 400),
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
    row('a trailer with a bare LF', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\nY: b\r\n\r\n`), 400),
    row('eight digits', chunked(`00000011\r\n${LANDING}\r\n00000000\r\n\r\n`), 303),
    row('nine digits', chunked(`000000011\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('nine digits for the last', chunked(`11\r\n${LANDING}\r\n000000000\r\n\r\n`), 400),
    row('none but the last', chunked('0\r\n\r\n'), 400, GOES),
    ...[['a tab before', '\t11'], ['a tab behind', '11\t'], ['a vertical tab behind', '11\x0b'], ['a NUL before',
        '\x0011'],
        ['a NUL behind', '11\0'], ['a comma', '11,'], ['a fraction', '11.0'], ['quotes', '"11"'], ['an h', '11h'],
        ['an L', '11L'], ['an exponent', '11p0'], ['a blank inside', '1 1'], ['a hash', '#11'], ['a dollar', '$11'],
        ['x', 'x11'], ['a CR before', '\r11'], ['a LF before', '\n11'], ['an empty line before', '\r\n11'],
        ['a CR too many', '11\r'], ['a LF too many', '11\n'], ['a no-break space', '11\xa0'],
        ['digits of another script', '\xef\xbc\x91\xef\xbc\x91'], ['a superscript', '1\xb9'], ['an equals sign',
        '11=a'],
        ['a colon', '11:'], ['a word', 'chunk']
    ].map(([name, size]) => row(`${name} (size)`, chunked(`${size}\r\n${LANDING}\r\n0\r\n\r\n`), 400)),
    ...[['a minus', '-0'], ['a plus', '+0'], ['0x', '0x0'], ['a blank before', ' 0'], ['a blank behind', '0 '],
        ['an underscore', '0_0'], ['a CR before', '\r0'], ['a CR too many', '0\r'], ['a NUL', '0\0'], ['nothing', ''],
        ['a dot', '0.'], ['a letter', 'O']
    ].map(([name, size]) => row(`${name} (last size)`, chunked(`11\r\n${LANDING}\r\n${size}\r\n\r\n`), 400)),
    ...[['a quoted pair', ';a="b\\"c"'], ['a tab in quotes', ';a="b\tc"'], ['nothing in quotes', ';a=""'],
        ['two', ';a=b;c="d"'], ['every character a name may have', ";!#$%&'*+-.^_`|~0aZ=!#$%&'*+-.^_`|~0aZ"]
    ].map(([name, extension]) => row(`${name} (extension)`, chunked(`11${extension}\r\n${LANDING}\r\n0\r\n\r\n`), 303)),
    ...[['no name', ';'], ['no name, twice', ';;'], ['no name first', ';;a'], ['no name last', ';a;'],
        ['no name but a value', ';=b'],
        ['no value', ';a='], ['two values', ';a=b=c'], ['two words', ';a b'], ['quotes without an end', ';a="b'],
        ['quotes that hold a CRLF', ';a="b\r\nc"'], ['quotes whose end is escaped', ';a="b\\"'],
        ['a rest behind quotes', ';a="b"c'],
        ['a quote inside', ';a=b"c"'], ['a name in quotes', ';"a"'], ['a bracket', ';(a)'], ['a comma', ';a,b'],
        ['Latin-1', ';\xe9'], ['a DEL', ';a\x7f'], ['a control character', ';a="\x01"'], ['a vertical tab', ';\x0ba'],
        ['a bare LF first', ';\n'], ['a bare LF in quotes', ';a="\n"'], ['a bare CR in quotes', ';a="\r"'],
        ['a NUL in quotes', ';a="\0"']
    ].map(([name, extension]) => row(`${name} (extension)`, chunked(`11${extension}\r\n${LANDING}\r\n0\r\n\r\n`), 400)),
    row('an extension of nothing to the last', chunked(`11\r\n${LANDING}\r\n0;\r\n\r\n`), 400),
    row('a request hidden by a bare LF in an extension',
        chunked(`2;\nxx\r\n${(SMUGGLED.length + 11).toString(16)}\r\n0\r\n\r\n` +
        `${SMUGGLED}\r\n0\r\n\r\n`), 400),
    row('a request hidden behind a quote in an extension',
        chunked(`1;a="\r\nx\r\n0\r\n\r\n${SMUGGLED}"\r\nx\r\n0\r\n\r\n`), 400),
    row('less data than said', chunked(`12\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('much less data than said', chunked(`18\r\n${LANDING}\r\n0\r\n\r\n`), 400),
    row('a bare CR after the data', chunked(`11\r\n${LANDING}\r0\r\n\r\n`), 400),
    row('LF and CR after the data', chunked(`11\r\n${LANDING}\n\r0\r\n\r\n`), 400),
    row('an empty line after the data', chunked(`11\r\n${LANDING}\r\n\r\n0\r\n\r\n`), 400),
    row('a CR too many after the data', chunked(`11\r\n${LANDING}\r\r\n0\r\n\r\n`), 400),
    row('a request for CRLF after the data', chunked(`11\r\n${LANDING}${SMUGGLED}`), 400),
    row('data in the last', chunked(`11\r\n${LANDING}\r\n0\r\nx\r\n\r\n`), 400),
    row('a bare CR at the end', chunked(`11\r\n${LANDING}\r\n0\r\n\rX\r\n`), 400),
    row('LF and CR at the end', chunked(`11\r\n${LANDING}\r\n0\r\n\n\r`), 400),
    row('two bare LFs at the end', chunked(`11\r\n${LANDING}\r\n0\n\n`), 400),
    row('CRLF missing at the end', chunked(`11\r\n${LANDING}\r\n0\r\n`), 400),
    row('a coding, a host and a cookie as trailers, passed over', chunked(`11\r\n${LANDING}\r\n0\r\n` +
        'Transfer-Encoding: chunked\r\nHost: evil.example.com\r\nCookie: a=b\r\nConnection: close\r\n\r\n'), 303),
    row('a trailer with Latin-1', chunked(`11\r\n${LANDING}\r\n0\r\nX: caf\xe9\r\n\r\n`), 303),
    row('a trailer with no name', chunked(`11\r\n${LANDING}\r\n0\r\n: a\r\n\r\n`), 400),
    row('a trailer with a tab before the colon', chunked(`11\r\n${LANDING}\r\n0\r\nX\t: a\r\n\r\n`), 400),
    row('a trailer with a blank before its name', chunked(`11\r\n${LANDING}\r\n0\r\n X: a\r\n\r\n`), 400),
    row('a trailer with a bare CR', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\rb\r\n\r\n`), 400),
    row('a trailer with a CR too many', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\r\r\n\r\n`), 400),
    row('a trailer with a DEL', chunked(`11\r\n${LANDING}\r\n0\r\nX: \x7f\r\n\r\n`), 400),
    row('a trailer with a bracket in its name', chunked(`11\r\n${LANDING}\r\n0\r\nX[: a\r\n\r\n`), 400),
    row('trailers ended by a bare LF', chunked(`11\r\n${LANDING}\r\n0\r\nX: a\r\n\n`), 400),
    row('trailers of 8 KiB and a byte', chunked(`11\r\n${LANDING}\r\n0\r\nX: ${'a'.repeat(8190)}\r\n\r\n`), 431, ENDS)
];

const typed = (type, content = LANDING) =>
    `POST /join HTTP/1.1\r\n${HOST}${type}Content-Length: ${content.length}\r\n\r\n${content}`;
const contents = [
    row('the type of forms in capitals', typed('Content-Type: APPLICATION/X-WWW-Form-Urlencoded\r\n'), 303),
    row('the type of forms with parameters',
        typed('Content-Type: application/x-www-form-urlencoded ; charset="UTF-8"\r\n'), 303),
    row('no type', typed(''), 415, ENDS),
    row('another type', typed('Content-Type: text/plain\r\n'), 415, ENDS),
    row('JSON', typed('Content-Type: application/json\r\n'), 415, ENDS),
    row('multipart', typed('Content-Type: multipart/form-data; boundary=x\r\n'), 415, ENDS),
    row('nearly the type of forms', typed('Content-Type: application/x-www-form-urlencodedx\r\n'), 415, ENDS),
    row('half the type of forms', typed('Content-Type: application/x-www-form\r\n'), 415, ENDS),
    row('two types, the right one first',
        typed('Content-Type: application/x-www-form-urlencoded\r\nContent-Type: text/plain\r\n'), [400, 415], ENDS),
    row('two types', typed('Content-Type: text/plain\r\nContent-Type: application/x-www-form-urlencoded\r\n'),
        [400, 415], ENDS),
    row('an expectation nobody knows', post('Content-Length: 17\r\nExpect: tea\r\n', LANDING), 417, ENDS),
    row('an expectation too many', post('Content-Length: 17\r\nExpect: 100-continue, tea\r\n', LANDING), 417, ENDS),
    row('an expectation in a second field', post('Content-Length: 17\r\nExpect: 100-continue\r\nExpect: tea\r\n',
        LANDING), 417, ENDS),
    row('an expectation of GET', get('Expect: tea\r\n'), 417),
    row('an expectation, sent with its content', post('Content-Length: 17\r\nExpect: 100-Continue\r\n', LANDING), 303),
    row('an expectation in HTTP/1.0, passed over', post('Content-Length: 17\r\nExpect: 100-continue\r\n',
        LANDING).replace('/1.1', '/1.0'), 303, ENDS),
    row('two requests with an empty line between', `${sized('17')}\r\n`, 303),
    row('an expectation folded', post('Content-Length: 17\r\nExpect:\r\n 100-continue\r\n', LANDING), 400),
    row('an expectation, a blank before the colon', post('Content-Length: 17\r\nExpect : 100-continue\r\n', LANDING),
        400),
    row('an expectation behind a word', post('Content-Length: 17\r\nExpect: y 100-continue\r\n', LANDING), 417, ENDS),
    row('an expectation with a parameter', post('Content-Length: 17\r\nExpect: 100-continue;q=1\r\n', LANDING), 417,
        ENDS),
    row('an empty expectation', post('Content-Length: 17\r\nExpect:\r\n', LANDING), 417, ENDS),
    row('an expectation of a request without content', get('Expect: 100-continue\r\n'), 200),
    row('an expectation and two framings', post('Expect: 100-continue\r\nContent-Length: 17\r\n' +
        'Transfer-Encoding: chunked\r\n', LANDING), 400),
    row('an expectation, sent with a request in its content', post(`Content-Length: ${SMUGGLED.length}\r\n` +
        'Expect: 100-continue\r\n', SMUGGLED), 400, EITHER),
    row('an expectation of what is nowhere, sent with a request in its content', get(`Content-Length: ${SMUGGLED.length
    }\r\nExpect: 100-continue\r\n`, '/nowhere') + SMUGGLED, 404, ENDS),
    row('a coding of the content', post('Content-Encoding: gzip\r\nContent-Length: 17\r\n', LANDING), 415, ENDS),
    row('a content of the type of forms and a folded parameter', typed(
        'Content-Type: application/x-www-form-urlencoded;\r\n charset=utf-8\r\n'), 400),
    row('a type behind a comma', typed('Content-Type: text/plain, application/x-www-form-urlencoded\r\n'), 415, ENDS),
    row('a name with an escaped CRLF', typed(FORM, 'room=tea&name=a%0d%0aSet-Cookie:%20a=b'), 400, GOES),
    row('a room with an escaped CRLF', typed(FORM, 'room=a%0d%0aSet-Cookie:%20a=b&name=Ann'), 400, GOES)
];

/* Whether the connection goes on (RFC 9112, 9). */
const ten = (fields, target) => get(fields, target).replace('/1.1', '/1.0');
const persistence = [
    row('nothing said', get(), 200),
    row('keep-alive', get('Connection: keep-alive\r\n'), 200),
    row('an empty Connection', get('Connection:\r\n'), 200),
    row('close between empty elements', get('Connection: , close,,\r\n'), 200, ENDS),
    row('close before keep-alive', get('Connection: close, keep-alive\r\n'), 200, ENDS),
    row('close in the first of two', get('Connection: close\r\nConnection: keep-alive\r\n'), 200, ENDS),
    row('Connection in capitals', get('CONNECTION: close\r\n'), 200, ENDS),
    row('close in quotes is not close', get('Connection: "close"\r\n'), 200),
    row('close and a word is not close', get('Connection: close now\r\n'), 200),
    row('an old name of Connection', get('Proxy-Connection: close\r\n'), 200),
    row('Keep-Alive alone', get('Keep-Alive: timeout=0, max=0\r\n'), 200),
    row('a Connection that names Host', get('Connection: Host\r\n'), 200),
    row('a Connection that names TE', get('Connection: TE\r\nTE: trailers\r\n'), 200),
    row('an upgrade without Connection', get('Upgrade: websocket\r\n'), 200),
    row('an upgrade to a web socket', get('Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'), 200),
    row('an upgrade to HTTP/2 with its settings', get('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n' +
        'HTTP2-Settings: AAMAAABkAAQAAP__\r\n'), 200),
    row('an upgrade to TLS', get('Connection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n'), 200),
    row('close, and a page that is not there', get('Connection: close\r\n', '/nowhere'), 404, ENDS),
    row('a page that is not there', get('', '/nowhere'), 404),
    row('a method that is not taken', line('DELETE /rooms HTTP/1.1'), 405),
    row('a method that is not taken, of no content', line('POST /rooms HTTP/1.1',
        'Content-Length: 0\r\n'), 405),
    row('another spelling', get('', '/r/Tea'), 308),
    row('HEAD', line('HEAD / HTTP/1.1'), 200),
    row('HEAD of what is not there', line('HEAD /nowhere HTTP/1.1'), 404),
    row('HTTP/1.0', ten(), 200, ENDS),
    row('HTTP/1.0, keep-alive', ten('Connection: keep-alive\r\n'), 200),
    row('HTTP/1.0, keep-alive among others', ten('Connection: TE, Keep-Alive\r\n'), 200),
    row('HTTP/1.0, keep-alive and close', ten('Connection: keep-alive, close\r\n'), 200, ENDS),
    row('HTTP/1.0, keep-alive and close in two', ten('Connection: keep-alive\r\nConnection: close\r\n'), 200, ENDS),
    row('HTTP/1.0, Keep-Alive alone', ten('Keep-Alive: timeout=5\r\n'), 200, ENDS),
    row('HTTP/1.0, an old name of Connection', ten('Proxy-Connection: keep-alive\r\n'), 200, ENDS),
    row('HTTP/1.0, keep-alive, and a page that is not there', ten('Connection: keep-alive\r\n', '/nowhere'), 404),
    row('HTTP/1.0, keep-alive, with a content', post('Connection: keep-alive\r\nContent-Length: 17\r\n', LANDING)
        .replace('/1.1', '/1.0'), 303),
    row('HTTP/1.0, keep-alive, and refused', ten('Connection: keep-alive\r\nX : a\r\n'), 400),
    row('keep-alive, and refused', get('Connection: keep-alive\r\nX : a\r\n'), 400)
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
    'a Transfer-Encoding is spelt in one way, and never beside a length': spelled,
    'a Transfer-Encoding in disguise is refused': disguised,
    'chunks are read to the letter': chunks,
    'a content is a form, and an expectation is kept': contents,
    'a connection goes on or ends as both sides said': persistence
};

describe('requests are read strictly', () => {
    for (const [name, rows] of Object.entries(tables))
        test(name, (t) => runRows(t, rows));
});

/* ---- every byte ---- */

const isToken = (byte) => /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte));
const isBlank = (byte) => byte === 0x20 || byte === 0x09;
const isValue = (byte) => byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);
const isHex = (byte) => /[0-9A-Fa-f]/.test(String.fromCharCode(byte));
const isOneOf = (characters) => (byte) => characters.includes(String.fromCharCode(byte));
const oneChunk = (size, trailer = '') => chunked(`${size}\r\n${LANDING}\r\n0\r\n${trailer}\r\n`);

/* Places where a byte C may stand or not: the request, the status where RIGHT(byte), else a refusal. SKIPPED(byte): it
 * is another request altogether. */
const places = [
    ['before the method', (c) => `${c}${get()}`, isToken, 501],
    ['in the method', (c) => line(`P${c}T / HTTP/1.1`), isToken, 501, isOneOf('U')],
    ['behind the method', (c) => line(`GET${c} /healthz HTTP/1.1`), isToken, 501],
    ['in the path', (c) => get('', `/a${c}b`), (byte) => byte > 0x20 && byte < 0x7f && !isOneOf('#%')(byte), 404],
    ['in the query', (c) => get('', `/healthz?a${c}b`), (byte) => byte > 0x20 && byte < 0x7f && !isOneOf('#%')(byte),
    200],
    ['behind the target', (c) => line(`GET /healthz?${c} HTTP/1.1`),
        (byte) => byte > 0x20 && byte < 0x7f && !isOneOf('#%')(byte), 200],
    ['before the version', (c) => line(`GET /healthz ${c}HTTP/1.1`), () => false],
    ['behind the version', (c) => line(`GET /healthz HTTP/1.1${c}`), () => false],
    ['for the dot of the version', (c) => line(`GET /healthz HTTP/1${c}1`), isOneOf('.'), 200],
    ['before the name of a field', (c) => get(`${c}X: a\r\n`), isToken, 200],
    ['before the colon', (c) => get(`X${c}: a\r\n`), (byte) => isToken(byte) || isOneOf(':')(byte), 200],
    ['for the colon', (c) => get(`X${c} a\r\n`), isOneOf(':'), 200],
    ['before a value', (c) => get(`X:${c}a\r\n`), isValue, 200],
    ['in a value', (c) => get(`X: a${c}b\r\n`), isValue, 200],
    ['behind a value', (c) => get(`X: a${c}\r\n`), isValue, 200],
    ['in a host', (c) => withHost(`Host: local${c}host\r\n`), () => false, 0,
        (byte) => /[0-9A-Za-z\-._~!$&'()*+,;=]/.test(String.fromCharCode(byte))],
    ['before a length', (c) => sized(`${c}17`), isBlank, 303, isOneOf('0123456789')],
    ['in a length', (c) => sized(`1${c}7`), () => false, 0, isOneOf('0123456789')],
    ['behind a length', (c) => sized(`17${c}`), isBlank, 303, isOneOf('0123456789')],
    ['behind the name of a length', (c) => post(`Content-Length${c}: 17\r\n`, LANDING), () => false, 0,
        (byte) => isToken(byte) || isOneOf(':')(byte)],
    ['before a coding', (c) => coded(`${c}chunked`), isBlank, 303],
    ['in a coding', (c) => coded(`chun${c}ked`), () => false],
    ['behind a coding', (c) => coded(`chunked${c}`), isBlank, 303],
    ['behind the name of a coding', (c) => post(`Transfer-Encoding${c}: chunked\r\n`, '0\r\n\r\n'), () => false, 0,
        isToken],
    ['before a chunk\'s size', (c) => oneChunk(`${c}11`), isOneOf('0'), 303, isHex],
    ['behind a chunk\'s size', (c) => oneChunk(`11${c}`), () => false, 0, isHex],
    ['for a chunk\'s CR', (c) => chunked(`11${c}\n${LANDING}\r\n0\r\n\r\n`), isOneOf('\r'), 303, isHex],
    ['for a chunk\'s LF', (c) => chunked(`11\r${c}${LANDING}\r\n0\r\n\r\n`), isOneOf('\n'), 303],
    ['in an extension\'s name', (c) => oneChunk(`11;a${c}b`), (byte) => isToken(byte) || isOneOf(';=')(byte), 303,
    isBlank],
    ['in an extension\'s value', (c) => oneChunk(`11;a=b${c}c`), (byte) => isToken(byte) || isOneOf(';')(byte), 303,
    isBlank],
    ['in an extension\'s quotes', (c) => oneChunk(`11;a="b${c}c"`), (byte) => isValue(byte) && !isOneOf('"')(byte),
    303],
    ['for the CR behind a chunk', (c) => chunked(`11\r\n${LANDING}${c}\n0\r\n\r\n`), isOneOf('\r'), 303],
    ['for the LF behind a chunk', (c) => chunked(`11\r\n${LANDING}\r${c}0\r\n\r\n`), isOneOf('\n'), 303],
    ['in a trailer\'s name', (c) => oneChunk('11', `X${c}Y: a\r\n`), (byte) => isToken(byte) || isOneOf(':')(byte),
    303],
    ['in a trailer\'s value', (c) => oneChunk('11', `X: a${c}b\r\n`), isValue, 303],
    ['for the last CR', (c) => chunked(`11\r\n${LANDING}\r\n0\r\n${c}\n`), isOneOf('\r'), 303],
    ['for the last LF', (c) => chunked(`11\r\n${LANDING}\r\n0\r\n\r${c}`), isOneOf('\n'), 303]
];

test('every byte is taken where it may stand, and refused where it may not', async (t) => {
    const server = await start(t);
    const rows = places.flatMap(([place, make, isRight, status, isSkipped = () => false]) => (
        Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !isSkipped(byte)).map((byte) => {
            const [name, bytes] = [`byte ${byte} ${place}`, make(String.fromCharCode(byte))];
            if (isRight(byte))
                return row(name, bytes, status, status === 501 ? ENDS : GOES);
            return row(name, bytes, place.endsWith('a coding') ? [400, 501] : 400, ENDS);
        })));
    await each(rows, async (one) => checkRow(one, await exchange(server, [Buffer.concat([one.bytes,
        Buffer.from(SECOND)])], methodsOf(one))));
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

/* MEMBER says something, as FIELDS frame it in CONTENT. */
const sending = ({ room, cookie }, fields, content) =>
    `${line(`POST /r/${room}/send HTTP/1.1`, `${FORM}Cookie: ${cookie}\r\n${fields}`)}${content}`;

test('a message that is broken off is not acted upon', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const content = 'text=cut%20short';
    const send = (fields, content) => sending(ann, fields, content);
    const whole = [
        send(`Content-Length: ${content.length}\r\n`, content),
        send('Transfer-Encoding: chunked\r\n', `10;a="b"\r\n${content}\r\n0\r\nX: a\r\n\r\n`)
    ];
    const cuts = whole.flatMap((bytes) => Array.from({ length: bytes.length - 1 }, (_, at) => bytes.slice(0, at + 1)));
    await each(cuts, async (bytes) => {
        const answers = await raw(server, Buffer.from(bytes, 'latin1'), { half: true });
        assert.ok(answers.length <= 1 && answers.every((answer) => answer.status === 400), `${answers[0]?.status}`);
    });
    const list = async () => (await request(server, 'GET', '/r/tea/messages', { cookie: ann.cookie })).json;
    assert.deepEqual(await list(), []);
    for (const bytes of whole)
        await raw(server, Buffer.from(bytes, 'latin1'), { half: true });
    assert.deepEqual((await list()).map((one) => one.text), ['cut short', 'cut short'], 'and whole ones are');
});

test('a refused request is not acted upon, nor what is behind it', async (t) => {
    const server = await start(t);
    const ann = await join(server, 'tea', 'Ann');
    const send = (fields, content) => sending(ann, fields, content);
    const hidden = send('Content-Length: 8\r\n', 'text=bad');
    const rows = [
        ['CL.TE', send('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${hidden}`)],
        ['TE.CL', send('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n',
            `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`)],
        ['CL.CL', send('Content-Length: 8\r\nContent-Length: 0\r\n', `text=bad${hidden}`)],
        ['CL.0', send('Content-Length : 0\r\n', hidden)],
        ['TE.TE', send('Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n',
        `8\r\ntext=bad\r\n0\r\n\r\n${hidden}`)],
        ['a broken chunk', send('Transfer-Encoding: chunked\r\n', `8\r\ntext=bad\r\n0x\r\n\r\n${hidden}`)],
        ['a broken trailer', send('Transfer-Encoding: chunked\r\n', `8\r\ntext=bad\r\n0\r\nX : a\r\n\r\n${hidden}`)],
        ['a spilling chunk', send('Transfer-Encoding: chunked\r\n', `8\r\ntext=badXX\r\n0\r\n\r\n${hidden}`)],
        ['a bare LF', send('X: a\nContent-Length: 8\r\n', `text=bad${hidden}`)],
        ['a bare CR', send('X: a\rContent-Length: 8\r\n', `text=bad${hidden}`)],
        ['a folded line', send('X: a\r\n Content-Length: 8\r\n', `text=bad${hidden}`)],
        ['a NUL', send('X: \0\r\nContent-Length: 8\r\n', `text=bad${hidden}`)],
        ['two Hosts', send(`${HOST}Content-Length: 8\r\n`, `text=bad${hidden}`)],
        ['another version', send('Content-Length: 8\r\n', `text=bad${hidden}`).replace('/1.1', '/2.0')],
        ['another host', send('Content-Length: 8\r\n', `text=bad${hidden}`).replace('localhost', 'evil.example.com')],
        ['another site', send('Origin: http://evil.example.com\r\nContent-Length: 8\r\n', `text=bad${hidden}`)],
        ['another type', send('Content-Length: 8\r\n', `text=bad${hidden}`).replace(FORM,
        'Content-Type: text/plain\r\n')],
        ['too much', send('Content-Length: 16385\r\n', `text=bad${hidden}`)]
    ].map(([name, bytes]) => ({ name, bytes }));
    await each(rows, async ({ bytes }) => {
        const answers = await raw(server, Buffer.from(bytes, 'latin1'));
        assert.equal(answers.length, 1);
        assert.ok(answers[0].status >= 400, `${answers[0].status}`);
        assert.match(answers[0].field('connection') ?? 'nothing', /^close$/i);
    });
    assert.deepEqual((await request(server, 'GET', '/r/tea/messages', { cookie: ann.cookie })).json, []);
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
        '/r/tea/qr', '/join']) {
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
