// Package access says who asks, and what one may do: logins of a file, their roles, and
// the applications that are theirs. It knows no path and no handler of this program.
//
//	file of logins ──reread──▶ state ◀──Identify── request: Authorization, client certificate, address
//	                             │ a verified header: one keyed hash and a look-up
//	                             │ any other: the address's turn, then bcrypt, a few at a time
//	                             ▼
//	                           *Login ──▶ Has, MayChange, MayOverride
//
// A line of the file is a login:
//
//	NAME ROLE SECRET[,SECRET…] [APPLICATION[,APPLICATION…]]
//
// A role is read, client or admin; each may what the one before may. A secret is a bcrypt
// hash, sha256:HEX of a long random token, or cert:SUBJECT of a client certificate.
package access
