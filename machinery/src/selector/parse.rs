//! kubectl's label selector syntax. Enter at [`requirements`].

use std::collections::BTreeSet;

use super::label::check_key;
use super::{Error, Operator, Requirement};
use crate::field::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Symbol(&'a str),
    Word(&'a str),
    End,
}

impl<'a> Token<'a> {
    /// As messages show it; the end shows as nothing.
    fn text(self) -> &'a str {
        match self {
            Self::Symbol(text) | Self::Word(text) => text,
            Self::End => "",
        }
    }
}

fn error<T>(message: String) -> Result<T, Error> {
    Err(Error(message))
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let is_symbol = |c: char| "=!(),><".contains(c);
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let symbol = is_symbol(first);
        let length = match symbol {
            true if rest.starts_with("==") || rest.starts_with("!=") => 2,
            true => 1,
            false => rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(if symbol { Token::Symbol(token) } else { Token::Word(token) });
        rest = after.trim_start_matches(is_space);
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    position: usize,
}

/// The requirements in the order written.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, Error> {
    let mut parser = Parser { tokens: tokens(text), position: 0 };
    let mut requirements = Vec::new();
    match parser.peek() {
        Token::End => return Ok(requirements),
        Token::Word(_) | Token::Symbol("!") => {}
        other => return error(format!("found '{}', expected: !, identifier, or 'end of string'", other.text())),
    }
    loop {
        let requirement = parser.requirement();
        requirements.push(requirement.map_err(|e| Error(format!("unable to parse requirement: {e}")))?);
        match parser.next() {
            Token::End => return Ok(requirements),
            Token::Symbol(",") => {}
            other => return error(format!("found '{}', expected: ',' or 'end of string'", other.text())),
        }
        match parser.peek() {
            Token::Word(_) | Token::Symbol("!") => {}
            other => return error(format!("found '{}', expected: identifier after ','", other.text())),
        }
    }
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.position).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.position += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, Error> {
        let mut token = self.next();
        let negated = token == Token::Symbol("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return error(format!("found '{}', expected: identifier", token.text()));
        };
        if let Some(problem) = check_key(key, &Path::root()) {
            return error(problem.to_string());
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new(), &Path::root());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Requirement::new(key, Operator::Exists, Vec::new(), &Path::root());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values.into_iter().map(str::to_owned).collect(), &Path::root())
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        let token = self.next();
        Ok(match token.text() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            "=" => Operator::Equals,
            "==" => Operator::DoubleEquals,
            "!=" => Operator::NotEquals,
            ">" => Operator::GreaterThan,
            "<" => Operator::LessThan,
            other => return error(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        })
    }

    /// A set in parentheses; an empty place between commas is the empty value.
    fn values(&mut self) -> Result<BTreeSet<&'a str>, Error> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return error(format!("found '{}' expected: '('", open.text()));
        }
        match self.peek() {
            Token::Symbol(")") => {
                self.next();
                return Ok(BTreeSet::from([""]));
            }
            Token::Word(_) | Token::Symbol(",") => {}
            other => return error(format!("found '{}', expected: ',', ')' or identifier", other.text())),
        }
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                Token::Word(value) => {
                    values.insert(value);
                    match self.peek() {
                        Token::Symbol(",") => continue,
                        Token::Symbol(")") => break,
                        other => return error(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Symbol(",") => {
                    let closes = self.peek() == Token::Symbol(")");
                    if values.is_empty() || closes || self.peek() == Token::Symbol(",") {
                        values.insert("");
                    }
                    if closes {
                        break;
                    }
                }
                other => return error(format!("found '{}', expected: ',', or identifier", other.text())),
            }
        }
        self.next();
        Ok(values)
    }

    fn exact_value(&mut self) -> Result<&'a str, Error> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok("");
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            other => error(format!("found '{}', expected: identifier", other.text())),
        }
    }
}
